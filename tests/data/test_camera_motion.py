import math

import cv2
import numpy as np
import pytest
import torch
from toys.films import write_levels

from refilm.cli.main import run
from refilm.data.camera_motion import LABELS, CameraMotions, camera_path, read_motions, read_stills
from refilm.data.camera_paths import CameraPath, view
from refilm.data.labelled import find_labelled
from refilm.data.pack import read_clip
from refilm.errors import RefilmError

TIMES = torch.arange(6) / 3


def still(seed=0):
    """Smooth noise, so that a flow can be followed."""
    noise = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (160, 240), mode="bicubic").clamp(0, 1).mul(255).byte()[0]


MOTIONS = CameraMotions([still(), still(1)])


def drawn(label, seed, motions=MOTIONS, size=(48, 64)):
    return motions.draw(torch.Generator().manual_seed(seed), TIMES, *size, label)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("seed", range(3))
def test_the_flow_of_the_background_is_what_the_label_says(label, seed):
    clip = drawn(label, seed)
    (flow,) = clip.flow([0], [5], 4)  # [2, 4, 4]
    dx, dy = flow.mean(dim=(1, 2)).tolist()
    outwards = float((flow[0, :, 3] - flow[0, :, 0]).mean())
    turning = float((flow[1, :, 3] - flow[1, :, 0]).mean())
    height, width = clip.frames.shape[2:]
    if label == "static":
        assert flow.abs().max() < 2 * 0.01 * 1.25 * height
    elif label.startswith("pan"):
        assert abs(dx) > 0.04 * width
        assert abs(dx) > abs(dy)
        assert (dx > 0) == (label == "pan left")
    elif label.startswith("tilt"):
        assert abs(dy) > 0.04 * height
        assert (dy > 0) == (label == "tilt up")
    elif label.startswith("zoom"):
        assert abs(outwards) > 0.04 * width
        assert (outwards > 0) == (label == "zoom in")
    else:
        assert abs(turning) > 0.04 * height


def test_a_camera_that_turns_left_sees_things_move_to_the_right():
    path = camera_path(torch.Generator().manual_seed(0), "pan left", 40, 60, (120.0, 80.0))
    assert path.velocity[0] < 0
    dot = torch.zeros(1, 160, 240)
    dot[0, 78:83, 118:123] = 1
    seen = view(dot, path, torch.tensor([0.0, 0.1]), 40, 60)
    columns = [float((frame[0].sum(0) * torch.arange(60)).sum() / frame.sum()) for frame in seen.unbind(1)]
    assert columns[1] > columns[0]


def test_the_flow_of_a_path_leads_to_where_a_place_is_seen_later():
    path = CameraPath((20.0, 30.0), (3.0, -2.0), turn=0.2, zoom=1.1, swing=(1.0, 2.0), pace=2.0, phase=0.4)
    first, second = torch.tensor([0.0, -1.0]), torch.tensor([1.0, 0.5])
    places = torch.rand(4, 5, 2, generator=torch.Generator().manual_seed(0)) * 20 - 10
    flow = path.flow(places, first, second)
    assert flow.shape == (2, 4, 5, 2)
    for number in range(2):

        def shown(times, pixels):
            """What of the picture is seen at pixels of the view."""
            turn = path.turn * float(times)
            matrix = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
            return path.middle(times[None])[0] + path.zoom ** float(times) * pixels @ matrix.T

        torch.testing.assert_close(
            shown(second[number], places + flow[number]), shown(first[number], places), atol=1e-4, rtol=0
        )


def test_the_flow_warps_one_frame_of_a_clip_onto_another(monkeypatch):
    import refilm.data.camera_motion as module

    for name in ("_NOISY", "_COMPRESSED", "_BARRED", "_BLURRED"):
        monkeypatch.setattr(module, name, 0.0)
    clip = drawn("zoom in", 3, size=(64, 64))
    frames = clip.frames
    flow = clip.flow([1], [2], 64)  # a cell for each pixel
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    grid = torch.stack([columns + flow[0, 0], rows + flow[0, 1]], dim=-1) / 63 * 2 - 1
    warped = torch.nn.functional.grid_sample(frames[:, 2][None], grid[None], align_corners=True)[0]
    inner = slice(8, -8)
    apart = (frames[:, 1] - frames[:, 2])[:, inner, inner].abs().mean()
    assert (warped - frames[:, 1])[:, inner, inner].abs().mean() < 0.15 * apart


def test_the_same_seed_gives_the_same_clip():
    first, again = (drawn("", 5) for _ in range(2))
    assert first.label == again.label
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(drawn("", 6).frames, first.frames)


def test_all_labels_are_drawn():
    random = torch.Generator().manual_seed(0)
    labels = {MOTIONS.draw(random, TIMES[:2], 16, 16).label for _ in range(60)}
    assert labels == set(LABELS)


def test_clips_have_the_wanted_shape_and_range_with_things_before_the_background():
    cutout = torch.full((4, 30, 20), 255, dtype=torch.uint8)
    motions = CameraMotions([still()], [cutout])
    for seed in range(8):
        clip = drawn("", seed, motions)
        assert clip.frames.shape == (3, 6, 48, 64)
        assert 0 <= clip.frames.min() <= clip.frames.max() <= 1


def test_a_thing_moves_by_itself_before_a_camera_that_stands():
    cutout = torch.full((4, 30, 20), 255, dtype=torch.uint8)
    motions = CameraMotions([still()], [cutout])
    changes = [float(drawn("static", seed, motions).frames.diff(dim=1).abs().max()) for seed in range(12)]
    assert max(changes) > 0.3


def test_stills_are_the_middle_frames_of_films(tmp_path):
    write_levels(tmp_path / "a.mkv", [40, 90, 200])
    write_levels(tmp_path / "b.mkv", [50])
    first, second = read_stills([tmp_path])
    assert first.shape == (3, 32, 48)
    assert int(first[0, 0, 0]) > int(second[0, 0, 0])
    assert len(read_stills([tmp_path], kept=1)) == 1


def test_a_set_on_disk_is_labelled_and_made_from_stills_that_are_set_aside(tmp_path, capsys):
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), cv2.resize(noise, (96, 64)))
    learned, aside = read_motions([tmp_path / "photos"], [])
    assert (len(learned.stills), len(aside.stills)) == (7, 1)
    options = ["--photographs", str(tmp_path / "photos"), "--height", "64", "--width", "96", "--seconds", "0.2"]
    assert run(["data", "camera-motion", str(tmp_path / "set"), *options, "--count", "9"]) == 0
    assert "9 clips of 0.2 s, 64x96, from 1 stills" in capsys.readouterr().out
    found = find_labelled(tmp_path / "set")
    assert sorted(found.labels) == sorted(LABELS)
    assert len(found.clips) == 9
    frames = read_clip(found.clips[0].footage.files[0])
    assert frames.shape == (5, 3, 64, 96)
    assert found.flips.mirror["pan left"] == "pan right"
    assert found.flips.reversal["zoom in"] == "zoom out"
    assert run(["data", "camera-motion", str(tmp_path / "set"), *options, "--count", "0"]) == 2


def test_too_few_stills_are_told(tmp_path):
    write_levels(tmp_path / "a.mkv", [40])
    with pytest.raises(RefilmError, match="1 stills are too few to set some aside"):
        read_motions([], [tmp_path])
