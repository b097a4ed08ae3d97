"""The filter on films whose every frame is known: it takes what flickers, and nothing that moves."""

import pytest
import torch
from models.test_flow_blend import panned, texture

from refilm.layers import bands
from refilm.layers.temporal_filter import TemporalFilter


def film(picture, noise: float = 0.0) -> torch.Tensor:
    """[1, 3, 3, H, W], the moments -1, 0, 1."""
    frames = torch.stack([picture(t) for t in (-1, 0, 1)], dim=1)[None]
    return frames + noise * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))


def error(result: torch.Tensor, truth: torch.Tensor) -> float:
    """Root of the mean square, away from the border, where frames show what the others do not."""
    return float((result - truth)[..., 8:-8, 8:-8].square().mean().sqrt())


def test_frames_that_are_the_same_stay_as_they_are() -> None:
    frames = film(lambda t: texture(48, 64)[0])
    torch.testing.assert_close(TemporalFilter()(*frames.unbind(2)), frames[:, :, 1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("speed", [(0.0, 0.0), (6.0, -3.0), (2.5, 0.7)])
def test_noise_falls_whatever_the_motion(speed: tuple[float, float]) -> None:
    frames, truth = film(lambda t: panned(t, speed), noise=0.01), panned(0, speed)
    assert error(TemporalFilter()(*frames.unbind(2))[0], truth) < 0.72 * error(frames[0, :, 1], truth)


def test_a_moving_picture_stays_sharp() -> None:
    assert error(TemporalFilter()(*film(panned).unbind(2))[0], panned(0)) < 0.003


@pytest.mark.parametrize("foreign", [[0], [2], [0, 2]])
def test_foreign_neighbours_leave_no_trace(foreign: list[int]) -> None:
    frames = film(panned)
    frames[:, :, foreign] = texture(96, 128, seed=5)[:, :, None]
    assert error(TemporalFilter()(*frames.unbind(2))[0], panned(0)) < 0.015


def test_bands_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = film(panned, noise=0.01)
    whole = TemporalFilter()(*frames.unbind(2))
    monkeypatch.setattr(bands, "BAND_PIXELS", 128 * 7)
    torch.testing.assert_close(TemporalFilter()(*frames.unbind(2)), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 40), (33, 47)])
def test_every_size_works(height: int, width: int) -> None:
    frames = torch.rand(2, 3, 3, height, width)
    result = TemporalFilter()(*frames.unbind(2))
    assert result.shape == (2, 3, height, width)
    torch.testing.assert_close(result, frames[:, :, 1], atol=0.02, rtol=0)  # noise has nothing in common


def test_bad_input_is_named() -> None:
    frame = torch.rand(1, 3, 40, 40)
    with pytest.raises(ValueError, match=r"wanted three RGB frames .* got \[1, 3, 40, 40\], .*, \[1, 3, 40, 39\]"):
        TemporalFilter()(frame, frame, frame[..., 1:])
