"""Scene cuts are found in scenes of any contrast, verdicts are local, motion and flashes are no cuts."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from refilm.stages.scene_cuts import SceneCuts, thumbnail, unlikeness
from refilm.video.colour import Colour
from refilm.video.frame import Frame
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import from_rgb

YUV420 = PixelFormat("yuv420p", "yuv", 8, 1, 1)
YUV420_10 = PixelFormat("yuv420p10le", "yuv", 10, 1, 1)


def picture(seed, height=180, width=320):
    """A smooth colourful scene, [3, H, W] in [0, 1]; scenes of different seeds have nothing in common."""
    rng = np.random.default_rng(seed)
    palette = rng.random((4, 1, 3)).astype(np.float32)
    image = cv2.resize(palette + 0.5 * rng.random((4, 7, 3), np.float32), (width, height)).clip(0, 1)
    for _ in range(25):
        centre = tuple(int(v) for v in rng.integers(0, (width, height)))
        cv2.circle(image, centre, int(rng.integers(5, 40)), rng.random(3).tolist(), -1)
    return torch.from_numpy(image).permute(2, 0, 1)


def frame_of(rgb, fmt=YUV420, number=0):
    colour = Colour()
    return Frame(from_rgb(rgb, fmt, colour), fmt, colour, Fraction(number, 24), Fraction(1, 24))


def panning(seed, count, speed):
    """A camera that pans over one large picture, `speed` pixels a frame."""
    wide = picture(seed, width=320 + count * speed)
    return [wide[:, :, i * speed : i * speed + 320] for i in range(count)]


def marks(pictures, fmt=YUV420):
    return [f.starts_scene for f in SceneCuts().mark(frame_of(rgb, fmt, i) for i, rgb in enumerate(pictures))]


@pytest.mark.parametrize("fmt", [YUV420, YUV420_10, PixelFormat("gbrp", "rgb", 8)], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("seed", range(5))
def test_a_join_of_two_scenes_is_found_and_nothing_else(seed, fmt):
    pictures = panning(2 * seed, 5, 6) + panning(2 * seed + 1, 4, 6)
    assert marks(pictures, fmt) == [False] * 5 + [True] + [False] * 3


@pytest.mark.parametrize("seed", range(5))
def test_a_fast_pan_is_not_a_cut(seed):
    assert not any(marks(panning(seed, 6, 40)))


def test_a_flash_is_not_a_cut():
    pictures = panning(0, 5, 4)
    pictures[2] = (pictures[2] + 0.35).clamp(0, 1)
    assert not any(marks(pictures))


def test_a_fade_is_not_a_cut():
    """Down to the last step: from nearly black to black the eye sees no change, and the detector may see a cut."""
    assert not any(marks([picture(3) * (1 - i / 16) for i in range(15)]))


GRADES = {
    "dim": lambda rgb: 0.35 * rgb,
    "dark": lambda rgb: 0.2 * rgb,
    "log": lambda rgb: 0.35 + 0.3 * rgb,
    "dark log": lambda rgb: 0.1 + 0.08 * rgb,
}


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("seed", range(5))
def test_a_cut_is_found_in_dim_and_flat_scenes(grade, seed):
    pictures = [GRADES[grade](rgb) for rgb in panning(2 * seed, 5, 6) + panning(2 * seed + 1, 4, 6)]
    assert marks(pictures) == [False] * 5 + [True] + [False] * 3


@pytest.mark.parametrize("grade", GRADES)
def test_motion_flashes_and_fades_of_dim_and_flat_scenes_are_no_cuts(grade):
    flash = panning(0, 5, 4)
    flash[2] = (flash[2] + 0.35).clamp(0, 1)
    fade = [picture(3) * (1 - i / 16) for i in range(15)]
    for pictures in (panning(1, 6, 40), flash, fade):
        assert not any(marks([GRADES[grade](rgb) for rgb in pictures]))


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_between_shots_in_like_colours_is_found(seed):
    """The second shot shows the same things from the other side, and closer."""
    first = panning(seed, 9, 4)
    second = [cv2.resize(rgb[:, 40:160, 60:260].flip(2).permute(1, 2, 0).numpy(), (320, 180)) for rgb in first[5:]]
    pictures = first[:5] + [torch.from_numpy(rgb).permute(2, 0, 1) for rgb in second]
    assert marks(pictures) == [False] * 5 + [True] + [False] * 3


@pytest.mark.parametrize("seed", range(5))
def test_a_crossfade_is_not_a_cut(seed):
    pairs = zip(panning(2 * seed, 16, 4), panning(2 * seed + 1, 16, 4), strict=True)
    assert not any(marks([torch.lerp(a, b, min(max((k - 2) / 11, 0), 1)) for k, (a, b) in enumerate(pairs)]))


def test_a_fade_of_an_empty_picture_is_not_a_cut():
    assert not any(marks([torch.full((3, 90, 160), 0.1 + 0.02 * n) for n in range(12)]))


def test_a_shot_of_a_single_frame_is_cut_on_both_sides():
    pictures = [*panning(0, 4, 4), picture(7), *panning(9, 4, 4)]
    assert marks(pictures) == [False] * 4 + [True, True] + [False] * 3


def test_a_verdict_depends_on_the_frames_around_it_only():
    """Wherever a segment begins and ends, its frames get the marks they have in the whole."""
    pictures = panning(4, 6, 6) + panning(5, 3, 6) + panning(6, 4, 6)
    whole = marks(pictures)
    assert [number for number, cut in enumerate(whole) if cut] == [6, 9]
    past, future = SceneCuts.context_past, SceneCuts.context_future
    for start in range(past, len(pictures)):
        assert marks(pictures[start - past :])[past:] == whole[start:]
        assert marks(pictures[: start + future])[:start] == whole[:start]


def test_marking_reads_two_frames_ahead():
    read = []
    frames = (read.append(i) or frame_of(rgb, number=i) for i, rgb in enumerate(panning(0, 6, 4)))
    next(SceneCuts().mark(frames))
    assert len(read) == 1 + SceneCuts.context_future


def test_marking_changes_nothing_else():
    given = [frame_of(rgb, number=i) for i, rgb in enumerate([picture(0), picture(1)])]
    first, second = SceneCuts().mark(given)
    assert first is given[0]
    assert second.starts_scene
    assert second.planes is given[1].planes
    assert replace(second, starts_scene=False) == given[1]
    assert list(SceneCuts().mark([])) == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (55, 97), (640, 360)])
def test_any_size_can_be_judged(height, width):
    black, noise = torch.zeros(3, height, width), torch.rand(3, height, width, generator=torch.manual_seed(0))
    assert marks([black, black, noise])[:2] == [False, False]


def test_a_frame_is_like_itself_and_flat_frames_are_no_trouble():
    scene, flat = thumbnail(frame_of(picture(0))), thumbnail(frame_of(torch.full((3, 90, 160), 0.5)))
    assert unlikeness(scene, scene) == pytest.approx(0, abs=1e-6)
    assert unlikeness(flat, flat) == 0
    assert unlikeness(scene, flat) > 0
