"""Photographs under a moving camera, as clips: textures for trainings of restoration, and a set to measure on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from refilm.data.camera_paths import Scenes
from refilm.data.draws import generator, log_between
from refilm.data.pack import Clip, Pack, motion, thumbnail
from refilm.video.clip_writer import write_clip

_ASIDE = 20  # of so many photographs, one is set aside for measurements
_CRF = 8.0  # textures stay


def divided_photographs(scenes: Scenes) -> tuple[Scenes, Scenes]:
    """Scenes of the photographs to learn from, and of each twentieth, to measure on."""
    aside = range(_ASIDE - 1, len(scenes.photographs), _ASIDE)
    kept = [photograph for number, photograph in enumerate(scenes.photographs) if number not in aside]
    return replace(scenes, photographs=kept), replace(scenes, photographs=[scenes.photographs[n] for n in aside])


def panned(scenes: Scenes, frames: int, height: int, width: int, seed: int) -> Pack:
    """A clip of each photograph as a camera on a random path sees it, with or without a thing before it.

    The fastest motion of each clip is drawn: between a sixteenth of `scenes.speed` and all of it.
    """
    pack = Pack([], [])
    for number, photograph in enumerate(scenes.photographs):
        random = generator(seed, number)
        alone = Scenes([photograph], scenes.cutouts, scenes.speed * log_between(random, 1 / 16, 1))
        scene = alone.draw(random, torch.arange(frames, dtype=torch.float32), height, width)
        film = scene.transpose(0, 1).mul(255).round().byte()
        moved = motion(*(thumbnail(frame) for frame in film[:2]))
        pack.clips.append(Clip(f"{number:04d}.mp4", "photographs", frames, width, height, moved, film.numel()))
        pack.frames.append(film)
    return pack


def write_panned(folder: str | Path, pack: Pack) -> None:
    """Write clips as a pack."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for clip, film in zip(pack.clips, pack.frames, strict=True):
        write_clip(folder / clip.file, list(film), _CRF)
        index.append(asdict(replace(clip, bytes=(folder / clip.file).stat().st_size)))
    (folder / "index.json").write_text(json.dumps(index, indent=1))
