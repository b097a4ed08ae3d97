"""The commands that prepare data, for training and for measuring."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from refilm.cli.learn import note
from refilm.errors import DONE, UsageError

data = App(name="data", help="Prepare data for training.", help_format="plaintext")


def add_commands(app: App) -> None:
    app.command(data)
    for command in (pack, camera_motion, scenes, panned):
        data.command(command)


def pack(
    folder: Path,
    out: Path,
    /,
    *,
    longest: int = 48,
    shortest: int = 12,
    gap: int = 48,
    short_side: int = 360,
    shrink: float = 2.0,
    crf: float = 18,
) -> int:
    """Cut films into short clips for training, which are cropped, reduced in size and listed in an index.

    Clips lie within a scene, without its still, dark and badly compressed parts. A stopped run is continued.

    Parameters
    ----------
    folder
        A folder of videos or folders of pictures, or Vimeo-90K, REDS or DAVIS in the layout of their archives.
    out
        The folder for the clips, such as films.pack.
    longest
        Most frames of a clip.
    shortest
        Fewest frames of a clip.
    gap
        Frames left out after each clip, so that long takes do not dominate.
    short_side
        Longest that the shorter side of a clip may be, in pixels.
    shrink
        Smallest factor by which frames are reduced, which removes the compression artifacts of the film.
    crf
        Quality of the clips: lower is better, and makes larger files.
    """
    from refilm.data import packing
    from refilm.stages.scene_cuts import SceneCuts

    try:
        settings = packing.Packing(longest, shortest, gap, short_side, shrink, crf)
    except ValueError as error:
        raise UsageError(str(error)) from None
    clips = packing.pack(folder, out, settings, SceneCuts().mark, note)
    held = sum(clip.bytes for clip in clips) / 1e6
    print(f"{out}: {len(clips)} clips, {sum(clip.frames for clip in clips)} frames, {held:.1f} MB")
    return DONE


def camera_motion(
    out: Path,
    /,
    *,
    photographs: tuple[Path, ...] = (),
    films: tuple[Path, ...] = (),
    cutouts: Path | None = None,
    count: int = 160,
    seconds: float = 2.0,
    height: int = 180,
    width: int = 320,
    seed: int = 0,
) -> int:
    """Make a set of clips that are labelled by what the camera does, to measure recognition on.

    Stills are seen by a camera that pans, tilts, zooms, rolls or stands. They are those that a training with the same
    folders sets aside.

    Parameters
    ----------
    out
        The folder for the clips, such as camera-motion.
    photographs
        Folders of pictures.
    films
        Folders of films or packs, whose clips give their middle frames.
    cutouts
        Folder of things that stand or move before the stills: NAME.mp4 and NAME-mask.mkv, listed in index.json.
    count
        Number of clips; as many of each of the eight labels.
    seconds
        Length of a clip.
    height
        Pixels, an even number of at least 64.
    width
        Pixels, an even number of at least 64.
    seed
        Other clips for other numbers.
    """
    from refilm.data.camera_motion import read_motions, write_set

    _check(height, width, count >= 1 and seconds > 0, "count at least 1 and seconds above 0")
    _, aside = read_motions(photographs, films, cutouts or "")
    write_set(out, aside, count, seconds, (height, width), seed)
    print(f"{out}: {count} clips of {seconds:g} s, {height}x{width}, from {len(aside.stills)} stills")
    return DONE


def scenes(
    out: Path,
    /,
    *,
    cutouts: Path,
    films: tuple[Path, ...],
    photographs: tuple[Path, ...] = (),
    annotations: Path | None = None,
    count: int = 40,
    frames: int = 40,
    height: int = 240,
    width: int = 400,
    seed: int = 0,
) -> int:
    """Make a set of clips in which all objects are known, to measure detection on.

    Things that are cut out of films move before other films. Both are those that a training with the same folders sets
    aside.

    Parameters
    ----------
    out
        The folder for the clips, such as composed.
    cutouts
        Folder of sequences with masks: NAME.mp4 and NAME-mask.mkv, listed in index.json.
    films
        Folders of films or packs, as backgrounds.
    photographs
        Folders of pictures, as further backgrounds; with --annotations.
    annotations
        A file in COCO's format, such as recipes/objects.json. What it lists without objects are the backgrounds.
        Default: all films are.
    count
        Number of clips.
    frames
        Frames of each clip.
    height
        Pixels, an even number of at least 64.
    width
        Pixels, an even number of at least 64.
    seed
        Other clips for other numbers.
    """
    from refilm.data.composed_set import unseen_compositor, write_composed

    _check(height, width, count >= 1 and frames >= 1, "count and frames at least 1")
    compositor = unseen_compositor(cutouts, films, photographs, annotations or "")
    write_composed(out, compositor, count, frames, (height, width), seed)
    print(f"{out}: {count} clips of {frames} frames, {height}x{width}")
    return DONE


def panned(
    out: Path,
    /,
    *,
    photographs: tuple[Path, ...],
    cutouts: Path | None = None,
    frames: int = 12,
    height: int = 256,
    width: int = 320,
    speed: float = 16.0,
    seed: int = 0,
) -> int:
    """Make a set of clips with fine textures, to measure restoration on: photographs under a moving camera.

    They are those that a training with the same folders sets aside, of every 20 photographs one.

    Parameters
    ----------
    out
        The folder for the clips, such as textures.
    photographs
        Folders of pictures.
    cutouts
        Folder of things that move before them: NAME.mp4 and NAME-mask.mkv, listed in index.json.
    frames
        Frames of each clip.
    height
        Pixels, an even number of at least 64.
    width
        Pixels, an even number of at least 64.
    speed
        Fastest motion, in pixels per frame.
    seed
        Other clips for other numbers.
    """
    from refilm.data import panned
    from refilm.data.camera_paths import read_scenes

    _check(height, width, frames >= 2 and speed > 0, "frames at least 2 and speed above 0")
    scenes = read_scenes([str(folder) for folder in photographs], str(cutouts or ""), speed)
    _, aside = panned.divided_photographs(scenes)
    if not aside.photographs:
        raise UsageError(f"{len(scenes.photographs)} photographs are too few to set some aside: of every 20, one is")
    panned.write_panned(out, panned.panned(aside, frames, height, width, seed))
    print(f"{out}: {len(aside.photographs)} clips of {frames} frames, {height}x{width}")
    return DONE


def _check(height: int, width: int, others: bool, wanted: str) -> None:
    """Raises UsageError if clips cannot have this size, or if `others`, which are `wanted`, are not as they must be."""
    if min(height, width) < 64 or height % 2 or width % 2 or not others:
        raise UsageError(f"height and width must be even and at least 64, {wanted}")
