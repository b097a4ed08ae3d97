"""Figures against values worked out by hand, and against FFmpeg's own."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from refilm.evaluation.metrics import as_shown, psnr_db, ssim, warp_errors


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_known_error() -> None:
    truth = torch.full((3, 8, 8), 100 / 255)
    # one channel off by 12 levels: mse = 144 / 3, so 20 log10(255) - 10 log10(48)
    result = truth.clone()
    result[0] += 12 / 255
    assert psnr_db(result, truth) == pytest.approx(31.3184, abs=1e-3)


def test_an_exact_frame_counts_as_a_hundred_decibels() -> None:
    assert psnr_db(noise(8, 8), noise(8, 8)) == 100


def test_what_is_measured_is_what_a_file_holds() -> None:
    torch.testing.assert_close(as_shown(torch.tensor([-0.2, 0.3001, 1.7])), torch.tensor([0, 77 / 255, 1]))
    truth = torch.ones(3, 8, 8)
    assert psnr_db(truth + 0.4, truth) == 100


def test_ssim_of_flat_frames_is_its_luminance_term() -> None:
    x, y = 51 / 255, 102 / 255
    result, truth = torch.full((3, 16, 16), x), torch.full((3, 16, 16), y)
    expected = (2 * x * y + 0.01**2) / (x**2 + y**2 + 0.01**2)
    assert ssim(result, truth) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_the_same_frame_is_one() -> None:
    assert ssim(noise(20, 30), noise(20, 30)) == pytest.approx(1, abs=1e-6)


def test_ssim_needs_room_for_its_window() -> None:
    with pytest.raises(ValueError, match=r"at least 11 pixels a side, got \[3, 10, 40\]"):
        ssim(noise(10, 40), noise(10, 40))


def test_the_warp_error_sees_flicker_but_not_motion() -> None:
    texture = torch.nn.functional.interpolate(noise(20, 30)[None], size=(120, 180), mode="bicubic")[0].clamp(0, 1)
    before, after = texture[:, 8:104, 8:168], texture[:, 8:104, 12:172]
    moved, floor = warp_errors(before, after, before, after)
    assert moved == floor
    assert floor < 2
    flickering, _ = warp_errors(before, after * 0.9, before, after)
    assert flickering > floor + 8


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg command on this machine")
def test_psnr_equals_ffmpegs_on_rgb(tmp_path) -> None:
    shape = 36, 50
    truth = noise(*shape)
    result = (truth + 0.05 * (noise(*shape, seed=1) - 0.5)).clamp(0, 1)
    for name, frame in (("result", result), ("truth", truth)):
        # gbrp: planes in the order G, B, R
        (as_shown(frame)[[1, 2, 0]] * 255).round().byte().numpy().astype(np.uint8).tofile(tmp_path / f"{name}.raw")
    raw = ["-f", "rawvideo", "-pixel_format", "gbrp", "-video_size", "50x36", "-i"]
    said = subprocess.run(
        ["ffmpeg", *raw, tmp_path / "result.raw", *raw, tmp_path / "truth.raw", "-lavfi", "psnr", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    found = re.search(r"PSNR .*average:([\d.]+)", said)
    assert found is not None
    assert psnr_db(result, truth) == pytest.approx(float(found[1]), abs=1e-3)
