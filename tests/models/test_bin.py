from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch

from refilm.models import create_model
from refilm.models.bin import ALONG, BIN, FASTEST, HALF, OF_CANDIDATES, BINConfig
from refilm.stages.running import Interpolating

ENDS = [Fraction(0), HALF, Fraction(1)]
SEEN_BY_DIS = 48  # the side of a frame in which DIS looks for motion


def tiny(learned=True, **fields):
    """A small network; `learned`: with random corrections, where a new one has none."""
    torch.manual_seed(0)
    config = {"features": 4, "blocks": 1, "convolutions": 1, "growth": 2, "decoder": 2, "residual": "estimate"}
    model = BIN(BINConfig(**config | fields)).eval()
    if learned:
        for backbone in model.backbones:
            torch.nn.init.normal_(backbone.colour.weight, std=0.1)
    return model


def clip(frames, size=12):
    return torch.rand(1, 3, frames, size, size, generator=torch.Generator().manual_seed(1))


def sharpened(model, frames):
    with torch.inference_mode():
        return model.sharpen(frames)


def test_the_published_model_has_11_44_million_parameters_and_makes_ten_estimates_of_five_frames():
    model = create_model("bin", weights=None)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 11_441_668
    assert [len(cells) for cells in model.cells] == [3, 2, 1]
    levels = tiny(shuffle=1).pyramid(clip(5).unbind(2))
    assert [len(level) for level in levels] == [5, 4, 3, 2, 1]


def test_the_small_model_is_at_most_half_a_million_parameters():
    assert sum(parameter.numel() for parameter in create_model("bin-small", weights=None).parameters()) == 492_227


@pytest.mark.parametrize("scales", [2, 3, 4])
def test_untrained_it_returns_the_frames_and_the_mean_of_two(scales):
    frames = clip(5)
    sharp = sharpened(tiny(learned=False, scales=scales), frames)
    assert sharp.shape == (1, 3, 9, 12, 12)
    torch.testing.assert_close(sharp[:, :, ::2], frames)
    torch.testing.assert_close(sharp[:, :, 1::2], (frames[:, :, 1:] + frames[:, :, :-1]) / 2)


@pytest.mark.parametrize(("scales", "scope"), [(2, 3), (3, 4), (4, 5)])
def test_a_pyramid_of_more_scales_sees_more_frames(scales, scope):
    """The deblurred frame of an odd, and the new frame of an even number of inputs, and nothing beyond them."""
    model = tiny(scales=scales)
    frames = clip(model.window).requires_grad_()
    time = Fraction(0) if scales % 2 == 0 else HALF
    model.between(frames, [time]).sum().backward()
    seen = [bool(frame.abs().sum() > 0) for frame in frames.grad.unbind(2)]
    assert sum(seen) == scope
    first = model.window // 2 - 1
    centre = first + float(time)
    places = [place for place, sees in enumerate(seen) if sees]
    assert (places[0] + places[-1]) / 2 == centre


@pytest.mark.parametrize("scales", [2, 3, 4])
def test_time_runs_both_ways_without_memory_and_symmetric_weights(scales):
    """Instants lie where they should: what is made of a clip run backwards is the same, reversed."""
    model = tiny(scales=scales, recurrent=False, residual="mean")
    with torch.no_grad():
        for backbone in model.backbones:  # of each frame alike
            planes = backbone.shallow.weight.unflatten(1, (-1, 3 * model.config.shuffle**2))
            backbone.shallow.weight.copy_(planes.mean(1, keepdim=True).expand_as(planes).flatten(1, 2))
    frames = clip(model.window)
    there, back = (model.between(part, ENDS) for part in (frames, frames.flip(2)))
    torch.testing.assert_close(there, back.flip(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scales", [2, 3, 4])
def test_results_are_carried_over_a_scene_until_the_reset(scales):
    model, frames = tiny(scales=scales), clip(8)
    window = [frames[:, :, first : first + model.window] for first in range(2)]
    with torch.inference_mode():
        alone = model(window[1])
        model.reset()
        model.between(window[0], ())
        after = model.between(window[1], ENDS)
        model.reset()
        again = model.between(window[1], ENDS)
    assert torch.equal(again, alone)
    # the new frame of two scales is of level 1, which has no memory
    changed = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(after.unbind(2), alone.unbind(2), strict=True)]
    assert changed[0]
    assert changed[1] == (scales > 2)


def test_the_state_does_not_depend_on_the_times_asked_for():
    model, frames = tiny(), clip(7)
    results = []
    for times in ((), [HALF], ENDS):
        model.reset()
        model.between(frames[:, :, :6], times)
        results.append(model.between(frames[:, :, 1:], ENDS[:2]))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_memory_is_of_the_same_instant():
    """Cells that hand on what they are given hand on the left input of each unit, which stands in for no memory."""
    model, frames = tiny(scales=3), clip(5).unbind(2)
    for cells in model.cells:
        for cell in cells:
            cell.forward = lambda picture, state: (picture, picture)
    with torch.inference_mode():
        fresh = model.pyramid(frames[1:])
        model.reset()
        model.pyramid(frames[:4])
        after = model.pyramid(frames[1:])
    torch.testing.assert_close(after[2], fresh[2])


def test_estimates_are_those_of_all_windows_with_what_they_are_founded_on():
    model, frames = tiny(scales=4), clip(6)
    estimates = list(model.estimates(frames))
    assert len(estimates) == 2 * 10
    assert {estimate.time for estimate in estimates} == {Fraction(k, 2) for k in range(1, 10)}
    assert [e.time for e in estimates if e.earlier is not None] == [Fraction(k, 2) for k in (3, 5, 4, 5, 7, 6)]
    assert model._states[0][0] is None


def moving(frames):
    """A smooth pattern that moves by (4, -2) pixels an interval, at twice the rate. -> [1, 3, 2 * frames - 1, S, S]"""
    y, x = torch.meshgrid(torch.arange(SEEN_BY_DIS), torch.arange(SEEN_BY_DIS), indexing="ij")
    at = range(2 * frames - 1)
    pictures = [0.5 + 0.2 * torch.sin(0.4 * (x - 2 * n)) + 0.2 * torch.cos(0.3 * (y + n)) for n in at]
    return torch.stack(pictures)[None, None].expand(1, 3, -1, -1, -1)


def distance(made, truth):
    return float((made - truth)[..., 8:-8, 8:-8].abs().mean())


@pytest.mark.parametrize("scales", [2, 3, 4])
def test_untrained_with_motion_new_frames_lie_on_the_paths(scales):
    truth = moving(5)
    sharp = sharpened(tiny(learned=False, scales=scales, motion="dis"), truth[:, :, ::2])
    torch.testing.assert_close(sharp[:, :, ::2], truth[:, :, ::2])
    mean = (truth[:, :, 2::2] + truth[:, :, :-2:2]) / 2
    assert distance(sharp[:, :, 1::2], truth[:, :, 1::2]) < 0.2 * distance(mean, truth[:, :, 1::2])


def test_weights_of_candidates_sharpen_along_the_motion():
    """The samples before and after a place on its path, subtracted, undo a part of the blur between them."""
    model = tiny(learned=False, scales=2, motion="dis")
    frames = moving(5)
    blurry = (frames[:, :, :-2] + frames[:, :, 1:-1] + frames[:, :, 2:])[:, :, 1::2] / 3  # an exposure of 3/4
    truth = frames[:, :, 2:-2:2]
    plain = sharpened(model, blurry)[:, :, ::2]
    level = 2  # of a unit that corrects a blurry frame; its first candidates are its two neighbours
    with torch.no_grad():
        for along in (-0.5, 0.5):
            model.backbones[level - 1].colour.bias[3 + 2 + ALONG.index(along)] = -0.4 / OF_CANDIDATES
    filtered = sharpened(model, blurry)[:, :, ::2]
    assert distance(filtered, truth) < 0.5 * distance(plain, truth)


def test_motion_faster_than_any_it_learned_from_looks_like_the_fastest():
    model = tiny(learned=False, scales=2, motion="dis")
    seen = []
    model.backbones[1].shallow.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, -4:]))
    far = torch.full((2, 1, 2, SEEN_BY_DIS, SEEN_BY_DIS), 100.0)
    far[1] *= -1
    model._flows.between = lambda first, second: far
    sharpened(model, clip(3, SEEN_BY_DIS))
    assert {round(float(way.abs().max()), 3) for way in seen} == {FASTEST}


@pytest.mark.parametrize("motion", ["none", "dis"])
def test_every_parameter_learns(motion):
    model = tiny(scales=3, motion=motion)
    sum(estimate.frame.square().mean() for estimate in model.estimates(clip(6, SEEN_BY_DIS))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    untouched = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().max() > 0]
    assert untouched == []


def test_without_recurrence_tiles_give_the_picture():
    model = tiny(scales=2, recurrent=False)
    wide = torch.rand(1, 3, model.window, 8, 160)
    cut = 80 - model.reach // 2 * 2
    assert cut > 0
    whole = model.between(wide, ENDS)[..., 80:]
    torch.testing.assert_close(model.between(wide[..., cut:], ENDS)[..., 80 - cut :], whole)
    assert tiny().reach is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: tiny().between(clip(6), [Fraction(1, 4)]),
            "half-way between two .* so times must be 0, 1/2 or 1, got 1/4",
        ),
        (lambda: tiny().between(clip(6, 11), [HALF]), "multiples of 2, got 11 x 11"),
        (lambda: tiny().between(clip(4), [HALF]), r"BIN takes a clip \[N, 3, 6, H, W\]"),
        (lambda: tiny(scales=5), "scales must be 2, 3 or 4, got 5"),
        (lambda: tiny(kernel=4), "kernel must be an odd number, got 4"),
        (lambda: tiny(blocks=0), "blocks must be at least 1, got 0"),
        (lambda: tiny(strength=1.5), r"strength must lie in \[0, 1\], got 1.5"),
        (lambda: tiny(residual="mean", motion="dis"), "with motion, residual must be \"estimate\", got 'mean'"),
        (lambda: tiny(motion="fast"), 'motion must be "dis", "learned" or a weight file'),
        (lambda: tiny(residual="input"), 'residual must be "mean" or "estimate", got \'input\''),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@dataclass(frozen=True)
class Shown:
    """A frame of a stream: a `Moment`."""

    rgb: torch.Tensor
    time: Fraction
    starts_scene: bool = False


@pytest.mark.parametrize(("scales", "motion"), [(2, "none"), (3, "none"), (4, "none"), (3, "dis"), (4, "dis")])
def test_a_stream_of_two_scenes_gives_what_each_gives_at_once(scales, motion):
    """Also where no new frame is wanted in between, the state goes on; a cut is not crossed."""
    model, frames = tiny(scales=scales, motion=motion), clip(9, SEEN_BY_DIS)
    cut = 5
    shown = [Shown(frame, Fraction(n), n == cut) for n, frame in enumerate(frames[0].unbind(1))]
    expected = [sharpened(model, part)[0] for part in (frames[:, :, :cut], frames[:, :, cut:])]
    own, new = [], {}
    for interval in Interpolating(model).over(shown):
        if not interval.is_whole:
            own.append(interval.redrawn())
        elif interval.first.time % 2 == 0:
            redrawn, new[int(interval.first.time)] = interval.between([Fraction(0), HALF])
            own.append(redrawn)
        else:
            own.append(None)
    wanted = torch.cat([part[:, ::2] for part in expected], dim=1).unbind(1)
    for number, (frame, truth) in enumerate(zip(own, wanted, strict=True)):
        if frame is not None:
            torch.testing.assert_close(frame, truth, msg=f"frame {number}")
    assert [number for number, frame in enumerate(own) if frame is not None] == [0, 2, 4, 6, 8]
    for number, frame in new.items():
        part, first = (expected[0], 0) if number < cut else (expected[1], cut)
        torch.testing.assert_close(frame, part[:, 2 * (number - first) + 1])
