"""From picture to picture: what is written, and what is refused before."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

import refilm
from refilm.errors import JobError, RefilmError, UsageError, VideoError
from refilm.jobs.morphing import along_motion
from refilm.models import create_model
from refilm.weights import Weights, save_weights


def disc(x, height=48, width=64):
    picture = np.full((height, width, 3), (210, 200, 190), np.uint8)
    cv2.circle(picture, (x, 24), 10, (40, 60, 160), -1)
    return picture


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of a disc that moves to the right by 8 pixels each time."""
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), disc(20 + 8 * number))
    return paths


@pytest.fixture
def space(tmp_path):
    """A space of grey levels: the code of a picture is its mean, and is decoded as a flat picture."""
    config = {"shape": [1, 4, 4], "code": 1, "halvings": 0, "depth": 0, "bend": 4}
    model = create_model("geodesic", weights=None, **config)
    (encoder,) = [m for m in model.encoder if isinstance(m, torch.nn.Linear)]
    (decoder,) = [m for m in model.decoder if isinstance(m, torch.nn.Linear)]
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    encoder.weight.data.fill_(1 / 16)
    encoder.bias.data.fill_(-0.5)
    decoder.weight.data.fill_(4.0)  # the slope of the sigmoid is a quarter in the middle
    return save_weights(Weights("geodesic", config, model.state_dict(), metrics={"rmse": [0.03]}), tmp_path)


def grey(tmp_path, *levels):
    paths = [tmp_path / f"grey{level}.png" for level in levels]
    for path, level in zip(paths, levels, strict=True):
        cv2.imwrite(str(path), np.full((48, 64, 3), level, np.uint8))
    return paths


def test_a_space_makes_a_film_whose_steps_are_equal(space, tmp_path):
    steps = []
    report = refilm.morph(
        grey(tmp_path, 90, 160), tmp_path / "out.mkv", weights=space, frames=9, codec="ffv1", on_step=steps.append
    )
    assert (report.frames_out, report.source.count("grey")) == (9, 2)
    assert report.weights == [space.name]
    assert "making pictures" in steps
    frames = list(refilm.open(tmp_path / "out.mkv"))
    assert [frame.time for frame in frames[:2]] == [0, pytest.approx(Fraction(1, 24), abs=1e-3)]
    levels = torch.tensor([float(frame.rgb.mean()) * 255 for frame in frames])
    assert levels[0] == pytest.approx(90, abs=3)
    assert levels[-1] == pytest.approx(160, abs=3)
    assert levels.diff().std() < 0.6


def test_a_way_through_three_pictures_runs_at_one_speed(space, tmp_path):
    refilm.morph(grey(tmp_path, 100, 120, 160), tmp_path / "way" / "%03d.png", weights=space, frames=13)
    levels = [float(cv2.imread(str(path)).mean()) for path in sorted((tmp_path / "way").glob("*.png"))]
    assert len(levels) == 13
    assert np.diff(levels).std() < 0.8
    assert np.diff(levels).mean() == pytest.approx(5, abs=0.5)


def test_by_motion_what_is_in_both_pictures_moves(pictures, tmp_path):
    report = refilm.morph(pictures, tmp_path / "out" / "%02d.png", by="motion", model="flow-blend", frames=5)
    assert report.settings["morph"]["model"] == "flow-blend"
    made = [cv2.imread(str(path)).astype(int) for path in sorted((tmp_path / "out").glob("*.png"))]
    assert len(made) == 5
    for given, place in zip(pictures, (0, 2, 4), strict=True):
        assert (made[place] == cv2.imread(str(given))).all()
    assert np.abs(made[1] - disc(24)).mean() < 3


def test_what_cannot_be_done_is_refused_in_one_line_and_leaves_nothing(pictures, space, media, tmp_path):
    out, wide = tmp_path / "out.mp4", tmp_path / "wide.png"
    cv2.imwrite(str(wide), disc(20, width=80))
    (tmp_path / "text.png").write_text("no picture")
    before = sorted(tmp_path.iterdir())
    for error, message, given, options in (
        (UsageError, "wanted at least two, got 1", pictures[:1], {}),
        (VideoError, r"text\.png", [pictures[0], tmp_path / "text.png"], {}),
        (VideoError, "no such file", [pictures[0], tmp_path / "missing.png"], {}),
        (VideoError, r"wide\.png: is 80x48, and .*a\.png 64x48", [pictures[0], wide], {}),
        (VideoError, "is a film", [pictures[0], media("cfr-24").path], {}),
        (RefilmError, "does not know these pictures.*--by motion", pictures, {"weights": space}),
        (UsageError, "frames are at least 2", pictures, {"frames": 1}),
        (UsageError, "by is one of space, motion", pictures, {"by": "magic"}),
        (UsageError, "weights are of a space", pictures, {"by": "motion", "weights": space}),
        (UsageError, "model is for --by motion", pictures, {"model": "flow-blend"}),
        (TypeError, "did you mean 'frames'", pictures, {"frame": 3}),
    ):
        with pytest.raises(error, match=message) as told:
            refilm.morph(given, out, **options)
        assert "\n" not in str(told.value)
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_that_exists_stays_and_one_in_no_folder_is_refused_before_the_work(pictures, space, tmp_path):
    given = grey(tmp_path, 90, 160)
    out = tmp_path / "out.mkv"
    out.write_text("mine")
    with pytest.raises(JobError, match="exists; choose another name"):
        refilm.morph(given, out, weights=space)
    with pytest.raises(JobError, match="is the input"):
        refilm.morph(given, given[1], weights=space, overwrite=True)
    with pytest.raises(JobError, match="no such folder"):
        refilm.morph(given, tmp_path / "nowhere" / "out.mkv", weights=space)
    assert out.read_text() == "mine"
    refilm.morph(given, out, weights=space, overwrite=True, frames=4)
    assert refilm.probe(out).width == 64
    assert not out.with_name("out.mkv.refilm").exists()


def test_a_model_that_makes_frames_at_certain_times_only_is_refused():
    model = create_model("bin-small", weights=None)
    with pytest.raises(UsageError, match="makes frames at certain times only"):
        next(along_motion(model, "cpu", [torch.rand(3, 32, 32)] * 2, 5))
