"""Scene cuts: the measure is PySceneDetect's, verdicts are local, motion and flashes are no cuts."""

import importlib
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from refilm.stages.scene_cuts import SceneCuts, Thumbnail, content_change, thumbnail, unlikeness
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


def test_content_change_of_a_small_example():
    """Half the pixels change hue by 60 and value by 55, none changes saturation: (30 + 0 + 27.5) / 3."""
    before = np.full((2, 2, 3), (10, 100, 200), np.uint8)
    after = before.copy()
    after[0] = (70, 100, 145)
    luma = np.zeros((18, 32), np.float32)
    assert content_change(Thumbnail(before, luma), Thumbnail(after, luma)) == pytest.approx((30 + 0 + 27.5) / 3)


def test_content_change_is_pyscenedetects():
    pytest.importorskip("scenedetect", reason="compared only where PySceneDetect is installed")
    detector = importlib.import_module("scenedetect.detectors").ContentDetector()
    thumbnails = [thumbnail(frame_of(rgb)) for rgb in [*panning(0, 3, 8), picture(1), picture(2)]]
    # hue and saturation of few-level colours do not survive HSV -> BGR -> HSV, so both start from the same BGR
    pictures = [cv2.cvtColor(t.hsv, cv2.COLOR_HSV2BGR) for t in thumbnails]
    thumbnails = [replace(t, hsv=cv2.cvtColor(b, cv2.COLOR_BGR2HSV)) for t, b in zip(thumbnails, pictures, strict=True)]
    theirs = [detector._calculate_frame_score(None, bgr) for bgr in pictures]
    ours = [content_change(a, b) for a, b in pairwise(thumbnails)]
    assert ours == pytest.approx(theirs[1:])
    assert max(ours) > 20


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


def test_a_verdict_depends_on_the_frame_before_only():
    """Wherever a segment begins, its frames get the marks they have in the whole."""
    pictures = panning(4, 4, 6) + panning(5, 3, 6) + panning(6, 3, 6)
    whole = marks(pictures)
    assert whole == [False] * 4 + [True, False, False, True, False, False]
    assert (SceneCuts.context_past, SceneCuts.context_future) == (1, 0)
    for start in range(1, len(pictures)):
        assert marks(pictures[start - SceneCuts.context_past :])[1:] == whole[start:]


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
