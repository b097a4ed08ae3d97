"""flow-blend on scenes whose every moment is known: a smooth random texture that moves."""

from fractions import Fraction

import cv2
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from refilm.layers.sampling import pixel_grid, sample
from refilm.models.flow_blend import FlowBlend, FlowBlendConfig, mixed, motion_at

HALF = Fraction(1, 2)


def texture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """[1, 3, H, W] in [0, 1]: noise, smoothed so that it may be sampled between its pixels."""
    noise = torch.rand(1, 3, -(-height // 6), -(-width // 6), generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def panned(t: float, speed: tuple[float, float] = (6.0, -3.0), height: int = 96, width: int = 128) -> torch.Tensor:
    """[3, H, W]: a window that moves over a larger texture, as a camera does."""
    x, y = torch.meshgrid(torch.arange(width) + 24.0, torch.arange(height) + 24.0, indexing="xy")
    position = torch.stack((x + t * speed[0], y + t * speed[1]))[None]
    scene = texture(height + 48, width + 48)
    grid = torch.stack(
        ((2 * position[:, 0] + 1) / scene.shape[3] - 1, (2 * position[:, 1] + 1) / scene.shape[2] - 1), -1
    )
    return F.grid_sample(scene, grid, mode="bicubic", align_corners=False)[0].clamp(0, 1)


def passing(t: float, textured: bool = True) -> torch.Tensor:
    """[3, 96, 160]: a square that moves 16 pixels to the right before a background at rest."""
    frame = texture(96, 160, seed=1)[0] * 0.5
    left = 40 + round(16 * t)
    square = texture(40, 40, seed=2)[0] * 0.5 + 0.5
    frame[:, 28:68, left : left + 40] = square if textured else 1
    return frame


def clip_of(scene, **options) -> torch.Tensor:
    return torch.stack((scene(0, **options), scene(1, **options)), dim=1)[None]


def psnr(result: torch.Tensor, truth: torch.Tensor, border: int = 0) -> float:
    height, width = truth.shape[-2:]
    inner = (..., slice(border, height - border), slice(border, width - border))
    return float(-10 * torch.log10((result[inner] - truth[inner]).square().mean()))


def test_a_static_clip_stays_as_it_is() -> None:
    clip = texture(72, 100)[:, :, None].repeat(1, 1, 2, 1, 1)
    torch.testing.assert_close(FlowBlend()(clip), clip[:, :, :1].repeat(1, 1, 5, 1, 1), atol=1e-4, rtol=0)


def test_the_outer_frames_are_the_input_itself() -> None:
    clip = clip_of(panned)
    result = FlowBlend()(clip)
    assert result.shape == (1, 3, 5, 96, 128)
    assert torch.equal(result[:, :, 0], clip[:, :, 0])
    assert torch.equal(result[:, :, 4], clip[:, :, 1])


def test_a_pan_is_recovered_far_better_than_by_blending() -> None:
    clip = clip_of(panned)
    result = FlowBlend().between(clip, [HALF])[0, :, 0]
    assert psnr(result, panned(0.5), border=8) > 38
    assert psnr(result, panned(0.5)) > psnr(clip.mean(2)[0], panned(0.5)) + 10


def accelerated(*times: float) -> torch.Tensor:
    """[1, 3, len(times), 96, 128]: a pan that gains speed, 4 t + t^2 pixels to the right."""
    return torch.stack([panned(t + t * t / 4, speed=(4.0, 0.0)) for t in times], dim=1)[None]


@pytest.mark.parametrize("t", [Fraction(1, 4), HALF, Fraction(3, 4)])
def test_frames_on_either_side_tell_how_motion_changes(t: Fraction) -> None:
    clip, truth = accelerated(-1, 0, 1, 2), accelerated(float(t))[0, :, 0]
    four, two = (FlowBlend().between(seen, [t])[0, :, 0] for seen in (clip, clip[:, :, 1:3]))
    assert psnr(four, truth, border=16) > 37
    assert psnr(four, truth, border=16) > psnr(two, truth, border=16) + 2


def test_uniform_motion_needs_no_frames_on_either_side() -> None:
    clip = torch.stack([panned(t) for t in (-1, 0, 1, 2)], dim=1)[None]
    assert psnr(FlowBlend().between(clip, [HALF])[0, :, 0], panned(0.5), border=8) > 38


@pytest.mark.parametrize("seen", [[1, 1, 2, 2], [0, 1, 1, 2], [0, 0, 1, 2]], ids=["no others", "pair", "before"])
def test_a_repeated_frame_says_nothing_about_motion(seen: list[int]) -> None:
    clip = accelerated(-1, 0, 1, 2)[:, :, seen]
    clip = clip + 0.002 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))  # as a codec repeats it
    model = FlowBlend()
    alone = [clip[:, :, 1:3]] if seen != [0, 0, 1, 2] else [clip[:, :, [1, 1, 2, 3]]]
    torch.testing.assert_close(model.between(clip, [HALF]), model.between(alone[0], [HALF]), atol=1e-5, rtol=0)


def test_with_others_the_reversed_clip_gives_the_mirrored_frames() -> None:
    clip = accelerated(-1, 0, 1, 2)
    forwards = FlowBlend().between(clip, [Fraction(1, 4)])
    backwards = FlowBlend().between(clip.flip(2), [Fraction(3, 4)])
    torch.testing.assert_close(forwards, backwards, atol=1e-5, rtol=0)


def test_the_result_is_the_weighted_mean_of_the_candidates() -> None:
    """The result comes from one kernel, the candidates step by step."""
    clip, time = accelerated(-1, 0, 1, 2), Fraction(1, 3)
    (found,) = FlowBlend().candidates(clip, [time])
    result = FlowBlend().between(clip, [time])[:, :, 0]
    torch.testing.assert_close(result, mixed(found.pictures, found.votes), atol=1e-4, rtol=0)


def test_each_interval_is_the_same_in_whatever_order_they_are_asked_for() -> None:
    """Flows are remembered from one interval to the next; the result does not show it."""
    film = accelerated(-1, 0, 1, 2, 3)
    windows, model = [film[:, :, :4], film[:, :, 1:], film[:, :, :4]], FlowBlend()
    assert all(torch.equal(model.between(w, [HALF]), FlowBlend().between(w, [HALF])) for w in windows)


def test_bands_of_a_frame_are_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = accelerated(-1, 0, 1, 2)
    whole = FlowBlend().between(clip, [HALF])
    monkeypatch.setattr("refilm.layers.bands.BAND_PIXELS", 128 * 7)
    assert torch.equal(FlowBlend().between(clip, [HALF]), whole)


def test_what_is_remembered_is_of_frames_of_the_same_size() -> None:
    model = FlowBlend()
    for height, width in ((64, 96), (96, 64)):
        clip = torch.zeros(1, 3, 2, height, width)
        clip[:, :, 1] = 1
        assert model.between(clip, [HALF]).shape == (1, 3, 1, height, width)


def test_a_static_clip_with_others_stays_as_it_is() -> None:
    clip = texture(72, 100)[:, :, None].repeat(1, 1, 4, 1, 1)
    torch.testing.assert_close(FlowBlend()(clip), clip[:, :, :1].repeat(1, 1, 5, 1, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("t", [Fraction(1, 16), Fraction(1, 5), Fraction(1, 3), Fraction(2, 3), Fraction(15, 16)])
def test_any_time_is_met_exactly(t: Fraction) -> None:
    result = FlowBlend().between(clip_of(panned), [t])[0, :, 0]
    at = {offset: psnr(result, panned(float(t) + offset), border=8) for offset in (-0.05, 0.0, 0.05)}
    assert at[0.0] > 37
    assert at[0.0] == max(at.values())


def test_near_the_ends_the_result_tends_to_the_frames() -> None:
    clip = clip_of(passing)
    near = FlowBlend().between(clip, [Fraction(1, 4096), Fraction(4095, 4096)])
    assert psnr(near[0, :, 0], clip[0, :, 0]) > 40
    assert psnr(near[0, :, 1], clip[0, :, 1]) > 40


def test_all_times_at_once_equal_each_by_itself() -> None:
    clip, times = clip_of(passing), [Fraction(1, 3), Fraction(2, 3)]
    model = FlowBlend()
    together = model.between(clip, times)
    assert torch.equal(together, torch.cat([model.between(clip, [t]) for t in times], dim=2))


def test_reversed_time_gives_the_mirrored_frames() -> None:
    clip = clip_of(passing)
    forwards = FlowBlend().between(clip, [Fraction(1, 4)])
    backwards = FlowBlend().between(clip.flip(2), [Fraction(3, 4)])
    torch.testing.assert_close(forwards, backwards, atol=1e-5, rtol=0)


def test_uncovered_background_is_not_torn() -> None:
    clip = clip_of(passing)
    result, truth = FlowBlend().between(clip, [HALF])[0, :, 0], passing(0.5)
    assert psnr(result, truth) > psnr(clip.mean(2)[0], truth) + 4
    # the strips beside the square are hidden in one of the two frames
    for strip in (slice(36, 48), slice(88, 100)):
        assert psnr(result[:, 28:68, strip], truth[:, 28:68, strip]) > 15
    # and far from it nothing has moved
    assert psnr(result[:, :, 130:], truth[:, :, 130:]) > 38


def test_a_batch_equals_its_clips_one_by_one() -> None:
    batch = torch.cat((clip_of(panned), clip_of(panned, speed=(-4.0, 2.0))))
    model = FlowBlend()
    torch.testing.assert_close(model(batch), torch.cat([model(clip[None]) for clip in batch]), atol=1e-6, rtol=0)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    clip = clip_of(passing)
    before = torch.get_num_threads(), cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            results.append(FlowBlend()(clip))
            assert cv2.getNumThreads() == threads, "the process's own setting must survive"
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    assert all(torch.equal(results[0], other) for other in results[1:])


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 67), width=st.integers(1, 67))
def test_every_size_works(height: int, width: int) -> None:
    clip = torch.rand(1, 3, 4, height, width, generator=torch.Generator().manual_seed(0))
    result = FlowBlend()(clip)
    assert result.shape == (1, 3, 5, height, width)
    assert result.isfinite().all()
    assert result.min() >= 0
    assert result.max() <= 1


def test_frames_too_small_for_dis_are_blended() -> None:
    clip = torch.rand(1, 3, 2, 31, 200, generator=torch.Generator().manual_seed(0))
    expected = 0.75 * clip[:, :, 0] + 0.25 * clip[:, :, 1]
    torch.testing.assert_close(FlowBlend().between(clip, [Fraction(1, 4)])[:, :, 0], expected, atol=1e-5, rtol=0)


def test_a_flat_clip_fades() -> None:
    clip = torch.full((1, 3, 2, 64, 65), 0.25)
    clip[:, :, 1] = 0.75
    result = FlowBlend().between(clip, [HALF])
    torch.testing.assert_close(result, torch.full_like(result, 0.5), atol=1e-4, rtol=0)


def test_no_times_give_no_frames() -> None:
    assert FlowBlend().between(clip_of(panned), []).shape == (1, 3, 0, 96, 128)


def test_the_dtype_is_kept() -> None:
    assert FlowBlend()(clip_of(panned).double()).dtype == torch.float64


def test_it_has_no_parameters() -> None:
    assert not list(FlowBlend().state_dict())


def test_the_motion_of_a_pan_is_the_flow_itself() -> None:
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 9, 11)
    gone, motion = motion_at(torch.cat((flow, torch.zeros_like(flow)), dim=1), 0.25, steps=1, first=0, last=9)
    torch.testing.assert_close(motion, flow)
    torch.testing.assert_close(gone, flow / 4)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.9])
def test_the_way_of_an_accelerated_pan_is_a_parabola(t: float) -> None:
    # x = 2 t + 3 t^2: 5 forwards in this interval, 1 (to x(-1) = 1) backwards in the one before, whose sum is 2 * 3
    flow, acceleration = (torch.tensor(v).view(1, 2, 1, 1).expand(1, 2, 9, 11) for v in ([5.0, 0.0], [6.0, 0.0]))
    gone, motion = motion_at(torch.cat((flow, acceleration), dim=1), t, steps=1, first=0, last=9)
    torch.testing.assert_close(gone[:, 0], torch.full((1, 9, 11), 2 * t + 3 * t**2))
    torch.testing.assert_close(motion, flow)


def test_the_motion_of_a_zoom_is_that_of_the_origin_pixel() -> None:
    # flow(s) = s / 2: the pixel at x halfway came from s = x / 1.25
    flow = pixel_grid(16, 16, torch.device("cpu")) / 2
    _, motion = motion_at(torch.cat((flow, torch.zeros_like(flow)), dim=1), 0.5, steps=20, first=0, last=16)
    torch.testing.assert_close(motion, flow / 1.25, atol=1e-5, rtol=0)


def test_sampling_at_the_pixels_is_identity() -> None:
    frame = torch.rand(1, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample(frame, pixel_grid(7, 5, frame.device)), frame)


@pytest.mark.parametrize(
    ("clip", "times", "error", "message"),
    [
        (torch.rand(1, 3, 3, 40, 40), [HALF], ValueError, r"\[N, 3, 2 or 4, H, W\], .*got \[1, 3, 3, 40, 40\]"),
        (torch.rand(3, 2, 40, 40), [HALF], ValueError, r"takes a clip .*got \[3, 2, 40, 40\]"),
        (
            torch.zeros(1, 3, 2, 40, 40, dtype=torch.uint8),
            [HALF],
            TypeError,
            "got torch.uint8; divide 8-bit codes by 255",
        ),
        (torch.rand(1, 3, 2, 40, 40), [Fraction(0), HALF, Fraction(5, 4)], ValueError, "between 0 and 1, got 0, 5/4"),
    ],
)
def test_bad_input_is_named(clip: torch.Tensor, times: list[Fraction], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FlowBlend().between(clip, times)


@pytest.mark.parametrize(
    "wrong",
    [{"refinement": -1}, {"inversion_steps": 0}, {"occlusion_floor": 0.0}, {"outer_pixels": 0.0}, {"smoothing": 8}],
)
def test_a_bad_config_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FlowBlendConfig(**wrong)
