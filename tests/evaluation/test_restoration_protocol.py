"""Spoilt clips against models that are known to undo a part of it, and against arithmetic."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from evaluation.clips import write_clip
from torch import Tensor, nn

from refilm.cli.main import run
from refilm.data import read_clip
from refilm.data.degradations import bicubic_down
from refilm.data.layouts import Footage
from refilm.errors import VideoError
from refilm.evaluation import PROTOCOLS, evaluate
from refilm.evaluation.flops import gflop
from refilm.evaluation.metrics import luma, psnr_db
from refilm.evaluation.restorers import DEBLOCKERS, DENOISERS, ENLARGERS, FFmpegFilter, ModelRestorer
from refilm.layers.conv3d import Conv3d
from refilm.layers.ls3d import LS3DConv
from refilm.models.contract import Restorer
from refilm.models.table import MODELS, Model


def clip(path: Path) -> Footage:
    return Footage(path.name, (path,))


class Mean(nn.Module, Restorer):
    """The mean of three frames, which halves noise or so where nothing moves; notes what it was told."""

    window, scale, size_multiple, reach = 3, 1, 4, 0
    temporal_filter = None
    told: list[float] = []  # noqa: RUF012  # of all instances, as the model is made far from the test

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 1 / 3))

    def forward(self, clip: Tensor, sigma_8bit: float | None = None) -> Tensor:
        assert clip.shape[-2] % 4 == clip.shape[-1] % 4 == 0
        if sigma_8bit is not None:
            Mean.told.append(sigma_8bit)
        return torch.einsum("nctyx,t->ncyx", clip, self.weight)


class Numbered(nn.Module, Restorer):
    """Says which frames it was shown: each as a digit."""

    window, scale, size_multiple, reach = 5, 1, 1, 0
    temporal_filter = None

    def forward(self, clip: Tensor) -> Tensor:
        digits = clip[0, 0, :, 0, 0]
        return torch.stack([digits @ torch.tensor([1e4, 1e3, 100, 10, 1])]).expand(1, 3, 4, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "still"
    folder.mkdir()
    write_clip(folder / "a.mkv", count=5, height=50, width=66, speed=0)
    write_clip(folder / "b.mkv", count=4, speed=1)
    return folder


@pytest.fixture(autouse=True)
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for filters in (DENOISERS, DEBLOCKERS):
        for name, method in filters.items():
            if isinstance(method, FFmpegFilter):
                monkeypatch.setitem(
                    filters, name, replace(method, settings=method.settings[::9] + method.settings[-1:])
                )


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "mean", Model("denoising", lambda: (Mean, None), learned=False))


def held(results: Path, name: str, protocol: str) -> dict:
    return json.loads((results / "still" / f"{name}.json").read_text())["protocols"][protocol]


def test_a_denoiser_stands_beside_the_filters_a_user_has(fakes: None, folder: Path, tmp_path: Path) -> None:
    Mean.told.clear()
    evaluate("mean", folder, results_dir=tmp_path)
    assert set(Mean.told) == {25}
    figures = {name: held(tmp_path, name, "denoising-sigma25") for name in ("mean", "input", "nlmeans")}
    # the noise alone: sigma 25, with a little of it cut off at black and white
    assert figures["input"]["mean"]["psnr_db"] == pytest.approx(20 * math.log10(255 / 25), abs=0.3)
    assert figures["mean"]["mean"]["psnr_db"] > figures["input"]["mean"]["psnr_db"] + 3
    assert figures["mean"]["mean"]["warp_error"] < figures["input"]["mean"]["warp_error"]
    assert figures["nlmeans"]["setting"].startswith("s=")
    assert figures["mean"]["parameters"] == 3
    # 68 x 52 after padding, three channels, three frames
    assert figures["mean"]["gflop"] == pytest.approx(2 * 3 * 3 * 68 * 52 / 1e9, abs=1e-4)
    assert figures["mean"]["clips"]["a.mkv"]["frames"] == 5
    assert "psnr_rgb_db" not in figures["mean"]["mean"]
    table = (tmp_path / "still" / "denoising.md").read_text()
    assert "sigma 25 (of 255)" in table
    assert f"| {figures['nlmeans']['setting']} |" in table
    if shutil.which("ffmpeg"):
        assert held(tmp_path, "hqdn3d", "denoising-sigma25")["mean"]["psnr_db"] > 21


def test_a_denoiser_that_is_not_told_the_noise_measures_it(fakes: None, folder: Path, tmp_path: Path) -> None:
    Mean.told.clear()
    evaluate("mean", folder, "denoising-sigma25-blind", tmp_path)
    assert min(Mean.told) > 20
    assert max(Mean.told) < 60  # a little more than is there, see `stages.damage`
    # the operations are those of a frame that the model works on
    assert held(tmp_path, "mean", "denoising-sigma25-blind")["gflop"] > 0


def test_clean_clips_are_compared_with_themselves(fakes: None, folder: Path, tmp_path: Path) -> None:
    evaluate("mean", folder, "denoising-clean", tmp_path)
    mean, untouched = (held(tmp_path, name, "denoising-clean")["mean"]["psnr_db"] for name in ("mean", "input"))
    assert untouched == 100
    assert mean > 45


def test_noise_depends_on_the_clips_name_alone(folder: Path) -> None:
    protocol = PROTOCOLS["denoising-sigma25"]
    (_, once), (_, again), (_, other) = (protocol._pair(clip(folder / name)) for name in ("a.mkv", "a.mkv", "b.mkv"))
    assert torch.equal(once, again)
    assert not torch.equal((once - once.mean())[0, 0, :9, :9], (other - other.mean())[0, 0, :9, :9])


def test_beyond_the_ends_the_nearest_frame_stands_in() -> None:
    clip = torch.arange(1, 5).view(4, 1, 1, 1).expand(4, 3, 4, 4).float()
    seen = [int(f[0, 0, 0]) for f in ModelRestorer(Numbered(), torch.device("cpu"), {})(clip, [0, 1, 3])]
    assert seen == [11123, 11234, 23444]


class Filtered(nn.Module, Restorer):
    """Shows each frame as it is; its filter takes the mean of three."""

    window, scale, size_multiple, reach = 1, 1, 1, 0

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, clip: Tensor) -> Tensor:
        self.calls += 1
        return clip[:, :, 0]

    def temporal_filter(self, *results: Tensor) -> Tensor:
        return torch.stack(results).mean(0)


def test_results_are_filtered_with_their_neighbours_and_each_is_made_once() -> None:
    clip = torch.tensor([0.0, 3, 9, 12, 27]).view(5, 1, 1, 1).expand(5, 3, 4, 4)
    model = Filtered()
    seen = [float(f[0, 0, 0]) for f in ModelRestorer(model, torch.device("cpu"), {})(clip, range(5))]
    assert seen == [1, 4, 8, 16, 22]
    assert model.calls == 5


def test_super_resolution_is_compared_on_luma_inside_a_border(folder: Path, tmp_path: Path) -> None:
    figures = evaluate("bicubic", folder, "super-resolution-x4-bi", tmp_path).clips["b.mkv"]
    truth = read_clip(folder / "b.mkv").float() / 255
    enlarged = ENLARGERS["bicubic"](bicubic_down(truth).mul(255).round().clamp(0, 255) / 255, range(4))
    inner = (..., slice(8, -8), slice(8, -8))
    pairs = [(e[inner].mul(255).round().clamp(0, 255) / 255, t[inner]) for e, t in zip(enlarged, truth, strict=True)]
    expected = sum(psnr_db(luma(e), luma(t)) for e, t in pairs) / 4
    assert figures.psnr_db == pytest.approx(expected, abs=1e-4)
    assert figures.psnr_rgb_db == pytest.approx(sum(psnr_db(e, t) for e, t in pairs) / 4, abs=1e-4)
    # 50 x 66 is cropped to what 4 divides
    clips = held(tmp_path, "lanczos", "super-resolution-x4-bi")["clips"]
    assert (clips["a.mkv"]["width"], clips["a.mkv"]["height"]) == (64, 48)
    assert clips["b.mkv"]["psnr_db"] == pytest.approx(figures.psnr_db, abs=3)
    assert "| PSNR of RGB |" in (tmp_path / "still" / "super-resolution.md").read_text()


def test_the_shifted_grid_of_bd_costs_bicubic_dearly(folder: Path, tmp_path: Path) -> None:
    bd, bi = (evaluate("bicubic", folder, f"super-resolution-x4-{kind}", tmp_path) for kind in ("bd", "bi"))
    assert bd.clips["b.mkv"].psnr_db < bi.clips["b.mkv"].psnr_db - 3


def test_luma_is_that_of_bt601() -> None:
    codes = luma(torch.tensor([[0.0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 1, 0, 0, 1]])[..., None]) * 255
    torch.testing.assert_close(codes.flatten(), torch.tensor([16, 235, 81.481, 144.553, 40.966]))


def test_fewer_frames_are_another_protocol(folder: Path, tmp_path: Path) -> None:
    result = evaluate("bicubic", folder, results_dir=tmp_path, every=4)
    assert result.protocol == "super-resolution-x4-real-every4"
    assert [clip.frames for clip in result.clips.values()] == [3, 2]
    table = (tmp_path / "still" / "super-resolution.md").read_text()
    assert "the first two frames of every 4" in table
    assert "## super-resolution-x4-real\n" not in table


def test_the_setting_that_serves_best_is_found_and_kept(folder: Path) -> None:
    settings = ("s=1:p=5:r=7", "s=10:p=5:r=7")
    protocol = replace(PROTOCOLS["denoising-sigma25"], baselines={"nlmeans": FFmpegFilter("nlmeans", settings)})
    method, setting = protocol.fitted("nlmeans", [clip(folder / "a.mkv")])
    assert setting == settings[1]
    assert method.settings == (settings[1],)


def test_a_strip_shows_input_baseline_result_and_truth(fakes: None, folder: Path, tmp_path: Path) -> None:
    evaluate("bicubic", folder, "super-resolution-x4-bi", tmp_path, pictures=tmp_path / "pictures")
    strip = cv2.imread(str(tmp_path / "pictures" / "super-resolution-x4-bi" / "bicubic" / "a.png"))
    assert strip.shape == (48, 4 * 64, 3)
    truth = read_clip(folder / "a.mkv")[2, :, :48, :64].permute(1, 2, 0).numpy()[..., ::-1]
    assert (strip[:, -64:] == truth).all()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg command on this machine")
def test_compressed_input_is_a_baseline_of_its_own(folder: Path, tmp_path: Path) -> None:
    evaluate("input", folder, "deblocking-jpeg2000-q40", tmp_path)
    evaluate("input", folder, "deblocking-jpeg2000-q20", tmp_path)
    q40, q20 = (held(tmp_path, "input", f"deblocking-jpeg2000-q{q}")["mean"]["psnr_db"] for q in (40, 20))
    assert 15 < q40 < q20 < 60


def test_flops_are_those_of_the_formulas() -> None:
    clip = torch.rand(1, 4, 3, 8, 8)
    places = 3 * 8 * 8
    convolution = 2 * 27 * 4 * 5 * places
    with torch.inference_mode():
        assert gflop(lambda: Conv3d(4, 5, 3, padding=1)(clip)) == pytest.approx(convolution / 1e9)
        predicting = 2 * 27 * 4 * 81 * places
        sampling = 2 * 4 * 27 * 4 * places
        layer = LS3DConv(4, 5, 3, padding=1)
        assert gflop(lambda: layer(clip)) == pytest.approx((convolution + predicting + sampling) / 1e9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"model": "mean", "protocol": "super-resolution-x4-bi"},
            "asks for super-resolution, and mean is for denoising",
        ),
        ({"model": "nlmeans", "protocol": "interpolation-x2"}, "asks for interpolation, and nlmeans is for denoising"),
        ({"model": "input", "every": 2}, "every must be at least 3, since two frames of so many are measured, got 2"),
        ({"model": "frame-blend", "every": 4}, "interpolation-x2 measures every frame it can; leave out every=4"),
    ],
)
def test_what_does_not_fit_together_is_named(
    fakes: None, folder: Path, tmp_path: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(folder=folder, results_dir=tmp_path, **arguments)


def test_a_clip_too_small_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_clip(tmp_path / "set" / "tiny.mkv", count=2, height=24, width=96)
    with pytest.raises(VideoError, match=r"tiny\.mkv: super-resolution-x4-bi needs at least 27 pixels a side"):
        evaluate("bicubic", tmp_path / "set", "super-resolution-x4-bi", tmp_path)


def test_a_clip_too_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_clip(tmp_path / "set" / "one.mkv", count=1)
    with pytest.raises(VideoError, match=r"one\.mkv: super-resolution-x4-bi needs at least 2 frames"):
        evaluate("bicubic", tmp_path / "set", "super-resolution-x4-bi", tmp_path)


def test_the_command_chooses_the_protocol_by_the_baseline(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", "lanczos", str(folder), "--results", str(tmp_path), "--every", "9"]) == 0
    assert "## super-resolution-x4-real-every9" in capsys.readouterr().out
