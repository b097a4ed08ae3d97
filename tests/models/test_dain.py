from fractions import Fraction

import pytest
import torch
from models.test_flow_blend import clip_of, panned
from models.test_memc_net import PLAIN, parameters, trained
from models.test_projected_flow import HEIGHT, SIDE, STEP, TOP, WIDTH, near_and_far, nearness, place_of_square, scene
from torch import nn

from refilm.models import create_model
from refilm.models.dain import DAIN, OWN, DAINConfig
from refilm.models.flow_blend import FlowBlend
from refilm.models.projected_flow import Steps, projected, projected_blend

HALF = Fraction(1, 2)
FORMS = [{}, {"context": 0}, {"depth_widths": ()}, {"shuffle": 2}, {"shuffle": 2, "aligned": True}]


def tiny(**config) -> DAIN:
    torch.manual_seed(0)
    small = {"stem": 8, "widths": (8, 12), "depth_widths": (8,), "context": 4, "channels": 8, "blocks": 1, "side": 3}
    return DAIN(DAINConfig(**(small | {"correction": 8} | config)))


class Known(nn.Module):
    """A depth that is given instead of estimated."""

    def __init__(self, log_depth: torch.Tensor) -> None:
        super().__init__()
        self.log_depth = log_depth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.log_depth.flatten(0, 1)


def test_the_published_sizes():
    """The paper's 24.0 M are these and PWC-Net (9,374,340) and the hourglass (5,357,730), which are replaced here."""
    model = create_model("dain", weights=None)
    parts = [parameters(part) for part in (model.kernels, model.context, model.synthesis)]
    assert parts == [5_514_112, 156_864, 3_629_187]
    assert round((sum(parts) + 9_374_340 + 5_357_730) / 1e6, 1) == 24.0
    assert parameters(model) == sum(parts) + parameters(model.depth) + parameters(model.correction)


def test_the_small_size_is_small():
    assert parameters(create_model("dain-small", weights=None)) < 500_000


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
def test_the_small_model_begins_near_flow_blend():
    clip, model = clip_of(panned), create_model("dain-small", weights=None)
    (motion,) = FlowBlend().before_bands(clip)
    plain, own = FlowBlend().between(clip, [HALF])[:, :, 0], projected_blend(torch.stack(clip.unbind(2)), motion, 0.5)
    share = torch.tensor(OWN).sigmoid()
    torch.testing.assert_close(model.between(clip, [HALF])[:, :, 0], torch.lerp(plain, own, share), atol=1e-5, rtol=0)


def test_plain_needs_aligned():
    with pytest.raises(ValueError, match="plain needs aligned"):
        DAINConfig(plain=True)


@torch.inference_mode()
def test_any_time_is_weighted_by_one_minus_t_and_t():
    frames, motion = scene()
    model = tiny()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    (steps,) = model.steps(frames, motion, [Fraction(1, 5)])
    torch.testing.assert_close(steps.blend, 0.8 * steps.warped[0] + 0.2 * steps.warped[1])


@torch.inference_mode()
def test_a_frame_near_an_end_is_that_frame():
    frames, motion = scene()
    for end, time in ((0, Fraction(1, 1000)), (1, Fraction(999, 1000))):
        (steps,) = tiny().steps(frames, motion, [time])
        # what moves does so by a thousandth of STEP, 0.016 pixels, and the other frame weighs a thousandth
        torch.testing.assert_close(steps.frame, frames[end], atol=0.02, rtol=0)


@torch.inference_mode()
def test_untrained_time_runs_both_ways():
    frames, motion = scene()
    (there,) = tiny().steps(frames, motion, [Fraction(1, 4)])
    (back,) = tiny().steps(frames.flip(0), motion.flip(0), [Fraction(3, 4)])
    torch.testing.assert_close(there.frame, back.frame, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_right_depths_draw_what_is_near_whole():
    frames, motion = scene()
    model = tiny()
    model.depth = Known(-nearness(100.0).log())
    (steps,) = model.steps(frames, motion, [HALF])
    flow, filled = projected(motion, 0.5, nearness(100.0))
    torch.testing.assert_close(steps.flow.flatten(0, 1), flow)
    assert torch.equal(steps.filled.flatten(0, 1), filled)
    square = place_of_square(0.5)
    wrong = projected_blend(frames, motion, 0.5)[0] - near_and_far(0.5)
    right = steps.frame[0] - near_and_far(0.5)
    assert right[:, square].square().mean() < 0.01 * wrong[:, square].square().mean()


def loss_of(steps: Steps, truth: torch.Tensor) -> torch.Tensor:
    return (steps.frame - truth).square().mean()


def test_depth_is_learned_from_the_frame_between_alone():
    """Nothing but the depth may change, and the loss sees colours only: the square becomes nearer than the ground."""
    frames, motion = scene()
    model, known, truth = tiny(), tiny(), near_and_far(0.5)
    known.depth = Known(-nearness(100.0).log())
    # what is uncovered is seen by one frame only, and the mean of both is wrong there whatever the depths are
    least = loss_of(next(known.steps(frames, motion, [HALF])), truth).item()
    optimizer = torch.optim.Adam(model.depth.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        (steps,) = model.steps(frames, motion, [HALF])
        loss = loss_of(steps, truth)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] - least < 0.5 * (losses[0] - least)
    depth = steps.log_depth[0, 0, 0].detach()
    front = slice(TOP + 2, TOP + SIDE - 2)
    # where the square lies, pixels of it have met pixels of the ground that it covers at t = 1/2
    left = int(place_of_square(0).any(0).nonzero()[0])
    square = depth[front, left + SIDE - STEP // 2 : left + SIDE]
    ground = depth[front, left + SIDE : left + SIDE + STEP // 2]
    assert square.mean() < ground.mean() - 1


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


@torch.inference_mode()
def test_depth_stays_in_its_range():
    frames, motion = scene()
    model = tiny()
    for sign in (-1, 1):
        nn.init.constant_(model.depth.head[1].bias, sign * 1e4)
        (steps,) = model.steps(frames, motion, [HALF])
        torch.testing.assert_close(steps.log_depth, torch.full((2, 1, 1, HEIGHT, WIDTH), sign * 4.0))
        assert steps.frame.isfinite().all()


def test_bad_configs_are_named():
    with pytest.raises(ValueError, match="kernel must be even, at least 2, got 5"):
        tiny(kernel=5)
    with pytest.raises(ValueError, match="widths must name a level"):
        tiny(widths=())
