import json
import math

import av
import cv2
import numpy as np
import pytest
import torch

from refilm.data.camera_paths import (
    CameraPath,
    Scenes,
    random_path,
    read_cutouts,
    read_photographs,
    view,
    with_layer,
)
from refilm.data.degradations import GAMMA, exposed
from refilm.errors import RefilmError


def picture(height=41, width=41):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


def test_a_steady_camera_sees_the_picture_shifted():
    path = CameraPath((20, 20), velocity=(3, -2))
    seen = view(picture(), path, torch.tensor([-1.0, 0.0, 2.0]), 11, 11)
    assert seen.shape == (3, 3, 11, 11)
    for frame, (x, y) in zip(seen.unbind(1), [(17, 22), (20, 20), (26, 16)], strict=True):
        torch.testing.assert_close(frame, picture()[:, y - 5 : y + 6, x - 5 : x + 6], atol=1e-4, rtol=0)


def test_turn_and_zoom_are_about_the_centre():
    turned = view(picture(), CameraPath((20, 20), turn=math.pi / 2), torch.tensor([1.0]), 41, 41)[:, 0]
    torch.testing.assert_close(turned, picture().rot90(1, (1, 2)), atol=1e-4, rtol=0)
    wider = view(picture(), CameraPath((20, 20), zoom=2.0), torch.tensor([1.0]), 21, 21)[:, 0]
    torch.testing.assert_close(wider, picture()[:, ::2, ::2], atol=1e-4, rtol=0)


def test_swing_is_a_sine():
    path = CameraPath((20, 20), swing=(4, 0), pace=math.pi / 2)
    places = path.positions(torch.tensor([0.0, 1.0, 2.0, 3.0]), 1, 1)[:, 0, 0]
    torch.testing.assert_close(places[:, 0], torch.tensor([20.0, 24, 20, 16]), atol=1e-4, rtol=0)


def test_no_random_path_is_faster_than_it_may_be():
    random = torch.Generator().manual_seed(0)
    fastest = 0.0
    for _ in range(100):
        places = random_path(random, (0, 0), speed=10).positions(torch.linspace(-2, 2, 81), 1, 1)[:, 0, 0]
        fastest = max(fastest, float(places.diff(dim=0).norm(dim=1).max() * 20))
    assert 5 < fastest <= 10.01


def test_a_cut_out_covers_what_is_behind_it_where_its_path_says():
    scene = picture().unsqueeze(1).expand(-1, 2, -1, -1)
    cutout = torch.cat((torch.full((3, 5, 5), 0.25), torch.ones(1, 5, 5)))
    # at time 0, the middle of the view shows that of the cut-out; with a view that goes left, the thing goes right
    shown = with_layer(scene, cutout, CameraPath((2, 2), velocity=(-6, 0)), torch.tensor([0.0, 1.0]))
    for frame, left in zip(shown.unbind(1), (18, 24), strict=True):
        expected = picture()
        expected[:, 18:23, left : left + 5] = 0.25
        torch.testing.assert_close(frame, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("exposure", [5, 7, 9])
def test_a_line_that_moves_is_blurred_into_a_box_of_equal_light_around_where_it_is(exposure):
    """One pixel wide, eight pixels an interval, one for each moment."""
    line = torch.zeros(3, 1, 128)
    line[:, :, 60] = 1.0
    path = CameraPath((31.5, 0), velocity=(8, 0))  # of the camera, so the line goes left
    clip = view(line, path, torch.arange(25) / 8, 1, 64).clamp(0, 1)
    blurry, sharp = exposed(clip, step=8, exposure=exposure)
    assert blurry.shape == (3, 3, 1, 64)
    assert sharp.shape == (3, 5, 1, 64)
    for number in range(3):
        middle = 60 - 4 - 8 * number
        assert sharp[0, 2 * number, 0].argmax() == middle
        box = torch.zeros(64)
        box[middle - exposure // 2 : middle + exposure // 2 + 1] = (1 / exposure) ** (1 / GAMMA)
        torch.testing.assert_close(blurry[0, number, 0], box, atol=2e-3, rtol=0)
        light = blurry[0, number, 0].pow(GAMMA).sum()
        assert float(light) == pytest.approx(1, abs=1e-3)
    assert [int(frame[0].argmax()) for frame in sharp[0, 1::2]] == [60 - 8, 60 - 16]


def test_exposed_refuses_what_cannot_be():
    with pytest.raises(ValueError, match=r"n \* step \+ 1 moments, got 8, 24"):
        exposed(torch.zeros(3, 24, 4, 4), 8, 5)
    with pytest.raises(ValueError, match="step must be an even number"):
        exposed(torch.zeros(3, 22, 4, 4), 7, 5)
    with pytest.raises(ValueError, match="exposure must be odd and at most 9, got 11"):
        exposed(torch.zeros(3, 25, 4, 4), 8, 11)


def test_scenes_depend_on_the_seed_alone_and_move():
    photographs = [(255 * picture(60, 80)).byte(), (255 * picture(50, 50)).byte()]
    cutouts = [torch.full((4, 12, 8), 200, dtype=torch.uint8)]
    scenes, times = Scenes(photographs, cutouts), torch.linspace(0, 2, 9)
    first, again, other = (scenes.draw(torch.Generator().manual_seed(s), times, 24, 32) for s in (0, 0, 1))
    assert first.shape == (3, 9, 24, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= first.min() < first.max() <= 1.0001
    assert all((first[:, t] - first[:, t + 1]).abs().mean() > 1e-3 for t in range(8))
    bare = Scenes(photographs, []).draw(torch.Generator().manual_seed(0), times, 24, 32)
    covered = ((first - bare).abs() > 0.02).float().mean()
    assert 0 < covered < 0.6


def write_mask(path, masks):
    with av.open(path, "w") as container:
        codec, form = ("ffv1", "gray") if path.suffix == ".mkv" else ("mpeg4", "yuv420p")
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = masks[0].shape[1], masks[0].shape[0], form
        for mask in masks:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(mask, format="gray")))
        container.mux(stream.encode(None))


def test_photographs_and_cut_outs_are_read(tmp_path):
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), (10, 20, 200) if name == "a.png" else 90, np.uint8))
    red, gray = read_photographs(tmp_path)
    assert red.shape == (3, 20, 30)
    assert red[:, 0, 0].tolist() == [200, 20, 10]
    assert gray.unique().tolist() == [90]
    mask = np.zeros((32, 48), np.uint8)
    mask[5:15, 10:30] = 255
    write_mask(tmp_path / "ball-mask.mkv", [mask] * 5)
    write_mask(tmp_path / "ball.mp4", [np.full_like(mask, 77)] * 5)
    entries = {"ball": {"split": "train"}, "kept": {"split": "val"}}
    (tmp_path / "index.json").write_text(json.dumps(entries))
    cutouts = read_cutouts(tmp_path)
    assert [cutout.shape for cutout in cutouts] == [(4, 10, 20)] * 4
    assert cutouts[0][3].unique().tolist() == [255]


def test_folders_without_them_are_told(tmp_path):
    with pytest.raises(RefilmError, match="no pictures"):
        read_photographs(tmp_path)
    with pytest.raises(RefilmError, match="no cut-outs here"):
        read_cutouts(tmp_path)
