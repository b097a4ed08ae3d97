from fractions import Fraction

import pytest
import torch
from models.test_flow_blend import clip_of, panned, psnr
from models.test_projected_flow import HEIGHT, WIDTH, near_and_far, scene

from refilm.models import create_model
from refilm.models.flow_blend import FlowBlend
from refilm.models.memc_net import OF_PLAIN, MEMCNet, MEMCNetConfig
from refilm.models.projected_flow import projected_blend

HALF = Fraction(1, 2)
FORMS = [{}, {"masks": False}, {"context": 0}, {"shuffle": 2}, {"shuffle": 2, "aligned": True}]
PLAIN = {"shuffle": 2, "aligned": True, "plain": True}


def tiny(**config) -> MEMCNet:
    torch.manual_seed(0)
    small = {"stem": 8, "widths": (8, 12), "features": 8, "context": 4, "context_side": 3, "channels": 8, "blocks": 1}
    return MEMCNet(MEMCNetConfig(**(small | {"correction": 8} | config)))


def trained(model, steps: int) -> list[float]:
    """Train a model on the known scene; the losses."""
    (frames, motion), truth = scene(), near_and_far(0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        (made,) = model.steps(frames, motion, [HALF])
        loss = (made.frame - truth).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_sizes():
    """Without FlowNetS, of 38,676,496 parameters, and what corrects the flow instead; MEMC-Net* has 70.3 M in all."""
    model = create_model("memc-net-star", weights=None)
    assert [parameters(part) for part in (model.kernels, model.masks)] == [14_166_704, 14_162_354]
    assert [parameters(part) for part in (model.context, model.post)] == [9_408, 3_297_539]
    published = parameters(model) - parameters(model.correction)
    assert published == 31_636_005
    assert round((published + 38_676_496) / 1e6, 1) == 70.3


def test_the_small_size_is_small():
    assert parameters(create_model("memc-net-small", weights=None)) < 500_000


@pytest.mark.parametrize("form", FORMS, ids=str)
@torch.inference_mode()
def test_an_untrained_network_is_a_blend_along_projected_flow(form):
    frames, motion = scene()
    for time in (Fraction(1, 4), HALF):
        (steps,) = tiny(**form).steps(frames, motion, [time])
        torch.testing.assert_close(steps.frame, projected_blend(frames, motion, float(time)), atol=1e-5, rtol=0)
        assert frames.min() - 1e-5 <= steps.frame.min()
        assert steps.frame.max() <= frames.max() + 1e-5


@torch.inference_mode()
def test_the_small_model_begins_as_flow_blend_with_a_ninth_of_its_own():
    clip, model = clip_of(panned), create_model("memc-net-small", weights=None)
    (motion,) = FlowBlend().before_bands(clip)
    result = model.between(clip, [HALF])[:, :, 0]
    plain, own = FlowBlend().between(clip, [HALF])[:, :, 0], projected_blend(torch.stack(clip.unbind(2)), motion, 0.5)
    torch.testing.assert_close(result, (OF_PLAIN * plain + own) / (OF_PLAIN + 1), atol=1e-5, rtol=0)
    assert psnr(result[0], panned(0.5), border=8) > 36


def test_plain_needs_masks_and_aligned():
    with pytest.raises(ValueError, match="plain needs masks and aligned"):
        MEMCNetConfig(plain=True, masks=False, aligned=True)


@torch.inference_mode()
def test_untrained_time_runs_both_ways():
    clip, model = clip_of(panned), tiny(shuffle=2)
    there, back = model.between(clip, [Fraction(1, 4)]), model.between(clip.flip(2), [Fraction(3, 4)])
    torch.testing.assert_close(there, back, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_frame_near_an_end_is_that_frame():
    frames, motion = scene()
    for end, time in ((0, Fraction(1, 1000)), (1, Fraction(999, 1000))):
        (steps,) = tiny().steps(frames, motion, [time])
        # what moves does so by a thousandth of STEP, 0.016 pixels, and the other frame weighs a thousandth
        torch.testing.assert_close(steps.frame, frames[end], atol=0.02, rtol=0)


@torch.inference_mode()
def test_masks_choose_between_the_frames():
    frames, motion = scene()
    model = tiny()
    torch.nn.init.constant_(model.masks.heads[1][1].bias, 100.0)  # frame 1 everywhere, as far as masks may go
    (steps,) = model.steps(frames, motion, [HALF])
    torch.testing.assert_close(steps.weights.sum(0), torch.ones(1, 1, HEIGHT, WIDTH))
    torch.testing.assert_close(steps.blend, (steps.weights * steps.warped).sum(0))
    torch.testing.assert_close(steps.blend, steps.warped[1], atol=0.005, rtol=0)


@torch.inference_mode()
def test_what_is_learned_of_a_kernel_is_added_to_the_bilinear_one_of_its_frame():
    frames, motion = scene()
    model = tiny()
    torch.nn.init.constant_(model.kernels.heads[0][1].bias, -10.0 / 3)  # OF_KERNELS * this: -1/3 for each coefficient
    (steps,) = model.steps(frames, torch.zeros_like(motion), [HALF])
    torch.testing.assert_close(steps.warped[1], frames[1], atol=1e-5, rtol=0)
    kernels = steps.kernels[0, 0].view(4, 4, HEIGHT, WIDTH)
    torch.testing.assert_close(kernels[0, 0], torch.full((HEIGHT, WIDTH), -1 / 3))
    torch.testing.assert_close(kernels[1, 2], torch.full((HEIGHT, WIDTH), 2 / 3))


@torch.inference_mode()
def test_several_times_are_as_one_at_a_time():
    frames, motion = scene()
    for form in ({}, {"shuffle": 2, "aligned": True}, PLAIN):
        model = tiny(**form)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        times = [Fraction(1, 3), Fraction(2, 3)]
        together = [steps.frame for steps in model.steps(frames, motion, times)]
        for time, frame in zip(times, together, strict=True):
            (alone,) = model.steps(frames, motion, [time])
            torch.testing.assert_close(alone.frame, frame)


@pytest.mark.parametrize("form", [*FORMS, PLAIN], ids=str)
def test_every_parameter_learns(form):
    model = tiny(**form)
    trained(model, 3)
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_training_lowers_the_loss():
    losses = trained(tiny(shuffle=2, aligned=True), 6)
    assert losses[-1] < losses[0]


def test_a_lesson_is_what_is_between_and_what_flow_blend_gives():
    clip, model = clip_of(panned), tiny(shuffle=2)
    lesson = model.lesson(clip, [HALF], margin=8)
    torch.testing.assert_close(lesson.frames, model.between(clip, [HALF])[..., 8:-8, 8:-8])
    torch.testing.assert_close(lesson.plain, FlowBlend().between(clip, [HALF])[..., 8:-8, 8:-8])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tiny(kernel=3), "kernel must be even, at least 2, got 3"),
        (lambda: tiny(widths=()), "widths must name a level"),
        (lambda: tiny(shuffle=2).between(torch.zeros(1, 3, 2, 33, 40), [HALF]), "multiples of 2, got 33 x 40"),
        (lambda: tiny().between(torch.zeros(1, 3, 2, 8, 8), [Fraction(1)]), "strictly between 0 and 1, got 1"),
        (lambda: tiny()(torch.zeros(1, 3, 3, 8, 8)), r"MEMCNet takes a clip \[N, 3, 2 or 4, H, W\]"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
