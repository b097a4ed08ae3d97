from fractions import Fraction

import pytest
import torch

from refilm.models import create_model
from refilm.models.flow_blend import FlowBlend, FlowBlendConfig, mixed
from refilm.models.vi_ls3d_flow import SHUFFLE, VILS3DFlow, VILS3DFlowConfig

TIMES = [Fraction(1, 3), Fraction(1, 2)]


def clip(size=48):
    return torch.rand(1, 3, 2, size, size, generator=torch.Generator().manual_seed(0))


def tiny(**config):
    torch.manual_seed(0)
    return VILS3DFlow(VILS3DFlowConfig(channels=8, blocks=2, **config))


def test_an_untrained_network_is_flow_blend_on_flow_of_full_size():
    model = create_model("vi-ls3d-flow", weights=None)
    blend = FlowBlend(FlowBlendConfig(finest_scale=0))
    torch.testing.assert_close(model.between(clip(), TIMES), blend.between(clip(), TIMES), rtol=0, atol=1e-5)


def test_five_frames_with_the_inputs_untouched():
    frames = tiny()(clip())
    assert frames.shape == (1, 3, 5, 48, 48)
    assert torch.equal(frames[:, :, [0, -1]], clip())


def test_the_mean_of_the_candidates_is_flow_blend():
    pictures, votes, _ = next(FlowBlend().candidates(clip(), TIMES))
    assert pictures.shape == (1, 3, 4, 48, 48)
    assert votes.shape == (1, 1, 4, 48, 48)
    torch.testing.assert_close(mixed(pictures, votes), FlowBlend().between(clip(), TIMES)[:, :, 0])


def test_candidates_near_an_input_come_from_it():
    """At a time close to 0, what is sampled from frame 0 is frame 0."""
    still = clip()
    moved = still.roll(3, dims=-1)
    pair = torch.stack([still[:, :, 0], moved[:, :, 0]], 2)
    pictures, _, carried = next(FlowBlend().candidates(pair, [Fraction(1, 1000)]))
    for place in (0, 2):
        torch.testing.assert_close(pictures[:, :, place], still[:, :, 0], atol=0.05, rtol=0)
    assert carried[:, :, [0, 2]].max() < 0.1 * carried[:, :, [1, 3]].max()


def test_time_runs_both_ways():
    """The frame at t of a clip is the one at 1 - t of the clip run backwards, once the network has learned nothing."""
    backwards = clip().flip(2)
    there, back = tiny().between(clip(), TIMES), tiny().between(backwards, [1 - t for t in TIMES])
    torch.testing.assert_close(there, back, atol=1e-5, rtol=0)


def test_strength_is_that_of_the_votes():
    """At 0 no candidate counts more or less than in flow-blend; what else was learned stays."""
    models = [tiny(strength=strength) for strength in (0.0, 0.5, 1.0)]
    for model in models:
        torch.nn.init.constant_(model.tail.bias[: SHUFFLE**2], 3.0)  # the first candidate's vote
    start, half, whole = (model.between(clip(), TIMES) for model in models)
    torch.testing.assert_close(start, tiny().between(clip(), TIMES))
    assert 0.01 < (half - start).abs().mean() < (whole - start).abs().mean()
    torch.nn.init.constant_(models[0].tail.bias[-3 * SHUFFLE**2 :], 1.0)
    assert (models[0].between(clip(), TIMES) - start).mean() > 0.01


def test_frames_beyond_the_two_change_the_motion():
    four = torch.stack([clip()[:, :, 0].roll(shift, dims=-1) for shift in (0, 1, 4, 9)], 2)
    model = tiny()
    assert not torch.allclose(model.between(four, TIMES), model.between(four[:, :, 1:3], TIMES), atol=1e-3)
    assert torch.equal(model(four)[:, :, [0, -1]], four[:, :, 1:3])


def test_bands_of_a_frame_are_the_frame(monkeypatch: pytest.MonkeyPatch):
    model = tiny()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    frames = torch.rand(1, 3, 2, 160, 40)
    whole = model.between(frames, TIMES)
    monkeypatch.setattr("refilm.layers.bands.BAND_PIXELS", 40 * 30)
    torch.testing.assert_close(model.between(frames, TIMES), whole, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns():
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model.corrected(next(model.candidates(clip(), TIMES)), 0.5) - 0.5).square().mean().backward()
        optimizer.step()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tiny().between(clip(47), TIMES), "multiples of 2, got 47 x 47; pad the clip first"),
        (lambda: tiny().between(clip(), [Fraction(1)]), "times must lie strictly between 0 and 1, got 1"),
        (lambda: tiny(max_offset=4)(clip()[:, :2]), r"VILS3DFlow takes a clip \[N, 3, 2 or 4, H, W\]"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
