"""From a folder of videos to the files that hold figures."""

import itertools
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest
import torch
from evaluation.clips import pictures, write_clip
from frames import stream

from refilm.cli.main import run
from refilm.errors import RefilmError, UsageError, VideoError
from refilm.evaluation import evaluate, task_of
from refilm.evaluation.interpolators import BASELINES, ModelInterpolator, blend, minterpolate, repeat
from refilm.models.contract import Interpolator
from refilm.video import frames
from refilm.video.vmaf import program

needs_minterpolate = pytest.mark.skipif(
    "minterpolate" not in av.filter.filters_available, reason="this FFmpeg is built without minterpolate"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "pans"
    folder.mkdir()
    write_clip(folder / "slow.mkv", speed=1)
    write_clip(folder / "fast.mkv", speed=3)
    (folder / "notes.txt").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    evaluate("flow-blend", folder, "interpolation-x2", results)
    return results / "pans"


def test_the_model_stands_beside_all_baselines(results: Path) -> None:
    assert {path.stem for path in results.glob("*.json")} == {"flow-blend", *BASELINES}
    held = json.loads((results / "flow-blend.json").read_text())
    assert (held["model"], held["set"], held["baseline"]) == ("flow-blend", "pans", False)
    figures = held["protocols"]["interpolation-x2"]
    assert figures["weights"] is None
    assert figures["parameters"] == 0
    assert figures["ms_per_frame"] > 0
    assert set(figures["clips"]) == {"slow.mkv", "fast.mkv"}
    assert figures["clips"]["slow.mkv"]["frames"] == 4
    psnr = [clip["psnr_db"] for clip in figures["clips"].values()]
    assert figures["mean"]["psnr_db"] == pytest.approx(sum(psnr) / 2, abs=1e-4)
    assert json.loads((results / "frame-blend.json").read_text())["baseline"]


def test_motion_compensation_beats_blending_beats_repeating(results: Path) -> None:
    def mean(name: str) -> dict[str, float]:
        return json.loads((results / f"{name}.json").read_text())["protocols"]["interpolation-x2"]["mean"]

    figures = [mean(name) for name in ("flow-blend", "frame-blend", "frame-repeat")]
    for better, worse in itertools.pairwise(figures):
        assert better["psnr_db"] > worse["psnr_db"] + 2
        assert better["ssim"] > worse["ssim"]
        assert better["warp_error"] < worse["warp_error"]


def test_the_table_ranks_by_psnr(results: Path) -> None:
    lines = (results / "interpolation.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ") and "cpu" in line]
    assert rows[0][0] == "| flow-blend"
    psnr = [float(row[1]) for row in rows]
    assert psnr == sorted(psnr, reverse=True)
    assert any(line.startswith("| fast.mkv | ") for line in lines)


def test_a_second_protocol_joins_the_first_and_baselines_are_kept(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    evaluate("frame-blend", folder, "interpolation-x2", tmp_path)
    evaluate("frame-repeat", folder, "interpolation-x2", tmp_path, note=said.append)
    assert {line.split()[0] for line in said} == {"frame-repeat"}
    evaluate("frame-repeat", folder, "interpolation-x4", tmp_path)
    held = json.loads((tmp_path / "pans" / "frame-repeat.json").read_text())
    assert list(held["protocols"]) == ["interpolation-x2", "interpolation-x4"]
    assert "## interpolation-x4" in (tmp_path / "pans" / "interpolation.md").read_text()


def test_strips_are_written_only_where_asked(folder: Path, results: Path, tmp_path: Path) -> None:
    assert not list(results.rglob("*.png"))
    evaluate("frame-blend", folder, "interpolation-x2", tmp_path / "results", pictures=tmp_path / "pictures")
    assert (tmp_path / "pictures" / "interpolation-x2" / "frame-blend" / "fast.png").stat().st_size > 0


def test_a_baseline_that_cannot_run_is_reported_as_absent(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av.filter, "filters_available", {"scale"})
    evaluate("frame-repeat", folder, "interpolation-x2", tmp_path)
    assert (
        "minterpolate: absent, this FFmpeg is built without minterpolate."
        in (tmp_path / "pans" / "interpolation.md").read_text()
    )


def test_an_index_names_the_clips(folder: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    for name in ("slow.mkv", "fast.mkv"):
        (chosen / name).symlink_to(folder / name)
    (chosen / "index.json").write_text('[{"file": "fast.mkv"}]')
    assert list(evaluate("frame-repeat", chosen, "interpolation-x2", tmp_path / "results").clips) == ["fast.mkv"]


@needs_minterpolate
@pytest.mark.parametrize("step", [2, 4])
def test_every_interpolator_fills_every_gap_in_order(folder: Path, step: int) -> None:
    clip = list(frames(folder / "slow.mkv"))
    times = [Fraction(i, step) for i in range(1, step)]
    for interpolator in (repeat, blend, minterpolate):
        new = list(interpolator(clip[::step], times))
        left_out = [frame for i, frame in enumerate(clip) if i % step]
        assert len(new) == len(left_out)
        # a slow pan: every frame is nearest to the one it stands for, or to one as near in time
        for i, picture in enumerate(new):
            errors = torch.stack([(picture - frame.rgb).square().mean() for frame in left_out])
            assert abs(int(errors.argmin()) - i) <= (0 if interpolator is minterpolate else step // 2)


class Notes(torch.nn.Module, Interpolator):
    """Takes four frames, notes their levels, shows the first of the two in the middle."""

    task = "interpolation"
    window, reach = 4, None

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def between(self, clip: torch.Tensor, times: Sequence[Fraction]) -> torch.Tensor:
        self.seen.append([round(float(frame.mean()) * 219 + 16) for frame in clip[0].unbind(1)])
        return clip[:, :, 1:2]


def test_a_model_is_shown_the_frames_beyond_the_two() -> None:
    model = Notes()
    assert len(list(ModelInterpolator(model, torch.device("cpu"))(stream(5), [Fraction(1, 2)]))) == 4
    assert model.seen == [[40, 40, 41, 42], [40, 41, 42, 43], [41, 42, 43, 44], [42, 43, 44, 44]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "flow-blnd"}, ValueError, "no model is called 'flow-blnd'; there are: .*flow-blend"),
        ({"protocol": "interpolation-x3"}, ValueError, "no protocol is called 'interpolation-x3'"),
        ({"folder": "."}, RefilmError, "no videos, no folders of pictures"),
    ],
)
def test_bad_input_is_named(
    folder: Path, tmp_path: Path, arguments: dict[str, str], error: type[Exception], message: str
) -> None:
    arguments = {"model": "frame-repeat", "folder": str(folder)} | arguments
    if arguments["folder"] == ".":
        arguments["folder"] = str(tmp_path)
    with pytest.raises(error, match=message):
        evaluate(results_dir=tmp_path, **arguments)


def test_a_clip_too_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_clip(tmp_path / "set" / "two.mkv", count=2)
    with pytest.raises(VideoError, match=r"two\.mkv: interpolation-x2 needs at least 3 frames"):
        evaluate("frame-repeat", tmp_path / "set", "interpolation-x2", tmp_path)


def test_a_single_gap_has_figures_but_no_time(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_clip(tmp_path / "set" / "three.mkv", count=3)
    result = evaluate("frame-repeat", tmp_path / "set", "interpolation-x2", tmp_path)
    assert result.clips["three.mkv"].frames == 1
    assert result.ms_per_frame is None
    assert "NaN" not in (tmp_path / "set" / "frame-repeat.json").read_text()


def test_sets_of_pictures_are_measured_as_they_were_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "vimeo"
    for name in ("00001/0001", "00001/0002"):
        (folder / "sequences" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures(3, 64, 96, speed=2), start=1):
            cv2.imwrite(str(folder / "sequences" / name / f"im{number}.png"), picture)
    (folder / "tri_trainlist.txt").write_text("00001/0001\n")
    (folder / "tri_testlist.txt").write_text("00001/0002\n")
    for model, protocol in (("frame-repeat", "interpolation-x2"), ("bicubic", "super-resolution-x4-bi")):
        result = evaluate(model, folder, protocol, tmp_path / "results")
        assert list(result.clips) == ["00001__0002"]
    assert (tmp_path / "results" / "vimeo" / "interpolation.md").exists()


def has_vmaf() -> bool:
    try:
        return bool(program())
    except UsageError:
        return False


@pytest.mark.skipif(not has_vmaf(), reason="no FFmpeg here is built with libvmaf")
def test_vmaf_stands_beside_psnr_where_it_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_clip(folder / "a.mkv", count=5, height=96, width=160)
    for protocol, better, worse in (
        ("interpolation-x2", "frame-blend", "frame-repeat"),
        ("super-resolution-x4-bi", "lanczos", "bicubic"),
    ):
        evaluate(better, folder, protocol, tmp_path)
        assert "VMAF" not in (tmp_path / "set" / f"{task_of(protocol)}.md").read_text()
        results = [evaluate(name, folder, protocol, tmp_path, further=["vmaf"]) for name in (better, worse)]
        clips = [result.clips["a.mkv"] for result in results]
        assert 100 >= clips[0].vmaf > clips[1].vmaf > 0
        assert "| VMAF |" in (tmp_path / "set" / f"{task_of(protocol)}.md").read_text()


def test_vmaf_is_refused_where_it_cannot_be_measured(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every frame is measured; leave out every"):
        evaluate("bicubic", folder, "super-resolution-x4-bi", tmp_path, every=3, further=["vmaf"])
    assert not (tmp_path / "pans").exists()


def test_the_folder_may_be_given_as_to_the_other_commands(folder: Path, tmp_path: Path) -> None:
    assert run(["eval", "frame-repeat", "--data", str(folder), "--results", str(tmp_path)]) == 0
    assert (tmp_path / "pans" / "frame-repeat.json").exists()


def test_the_command_prints_the_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "frame-blend", str(folder), "--results", str(tmp_path)]) == 0
    assert "| frame-blend |" in capsys.readouterr().out
    assert run(["eval", "frame-blend", str(tmp_path), "--results", str(tmp_path)]) == 1
    assert "no videos, no folders of pictures" in capsys.readouterr().err
    assert run(["eval", "frame-bland", str(folder), "--results", str(tmp_path)]) == 2


def test_lpips_stands_beside_psnr_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    better, worse = (
        evaluate(name, folder, "interpolation-x2", tmp_path, further=["lpips"])
        for name in ("frame-blend", "frame-repeat")
    )
    assert 0 < better.mean("lpips") < worse.mean("lpips") < 1
    assert "| LPIPS |" in (tmp_path / folder.name / "interpolation.md").read_text()
    assert evaluate("frame-blend", folder, "interpolation-x2", tmp_path / "without").mean("lpips") is None


def test_unknown_further_figures_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="further figures are vmaf and lpips, got niqe"):
        evaluate("frame-blend", folder, "interpolation-x2", tmp_path, further=["niqe"])
