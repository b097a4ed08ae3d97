"""One field of a config chooses the source of motion, in every model that uses motion."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction

import cv2
import pytest
import torch
import torch.nn.functional as F

from refilm.errors import WeightsError
from refilm.layers.optical_flow import DIS
from refilm.models import create_model
from refilm.models.flow_blend import FlowBlend, FlowBlendConfig
from refilm.models.motion import LearnedMotion, motion_source, smoothed
from refilm.models.pwc_net import PWCNet, PWCNetConfig
from refilm.weights import Weights, save_weights

USERS = "flow-blend", "vi-ls3d-flow", "vdn-ls3d-small", "vdb-ls3d-small", "vsr-ls3d-small"
SMALL = PWCNetConfig(levels=2, features=(8, 4), radius=1, decoder=(8,))


def moving(dy: int, dx: int, frames: int, size: int = 64) -> torch.Tensor:
    """A texture that moves by (dy, dx) pixels a frame. [1, 3, T, size, size]"""
    coarse = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    wide = F.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    return torch.stack([wide[..., 40 + dy * t :, 40 + dx * t :][..., :size, :size] for t in range(frames)], 2)


@pytest.fixture(scope="module")
def network() -> PWCNet:
    """One that gives some motion, though not the right one."""
    network = PWCNet(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    return network


@pytest.fixture(scope="module")
def still(tmp_path_factory) -> str:
    """The weight file of an untrained network, which sees no motion."""
    state = PWCNet(SMALL).state_dict()
    return str(save_weights(Weights("pwc-small", asdict(SMALL), state), tmp_path_factory.mktemp("weights")))


def luma(clip):
    return (255 * clip.mean(1)).round().byte()  # [1, T, H, W]


@pytest.mark.parametrize("name", USERS)
def test_every_model_with_motion_takes_either_source(name, still):
    clips = {"dis": moving(2, 1, create_model(name).window)}
    # the network sees no motion, so the result is that of DIS without any
    clips[still] = clips["dis"]
    results = {}
    for motion, clip in clips.items():
        model = create_model(name, motion=motion)
        with torch.inference_mode():
            if hasattr(model, "between"):
                results[motion] = model.between(clip, [Fraction(1, 2)])[:, :, 0]
                blend = clip[:, :, clip.shape[2] // 2 - 1 :][:, :, :2].mean(2)
            else:
                results[motion] = model.prepare(clip)
                blend = clip
    assert (results["dis"] - results[still])[..., 16:-16, 16:-16].abs().mean() > 0.01
    if name != "vi-ls3d-flow":  # which corrects the blend
        torch.testing.assert_close(results[still], blend, atol=1e-5, rtol=0)


def test_the_temporal_filter_has_the_source_of_its_model(still):
    frames = moving(1, 1, 3).unbind(2)
    results = []
    for motion in ("dis", still):
        temporal_filter = create_model("vdn-ls3d-small", motion=motion).temporal_filter
        results.append(temporal_filter.before_bands(frames))
    assert results[0][0].abs().max() > 0.5
    assert not results[1][0].any()


def test_from_the_centre_is_the_flow_between_smoothed_frames(network):
    source, clips = LearnedMotion(network), luma(moving(1, 2, 3))
    flows = source.from_centre(clips)
    assert flows.shape == (1, 3, 2, 64, 64)
    assert not flows[:, 1].any()
    smooth = [smoothed(frame[:, None].float() / 255) for frame in clips.unbind(1)]
    for t in (0, 2):
        wanted = network(smooth[1], smooth[t])
        assert wanted.abs().max() > 0.01
        torch.testing.assert_close(flows[:, t], wanted)


def test_both_ways_are_those_of_the_network(network):
    first, second = luma(moving(1, 2, 2)).unbind(1)
    wanted = network.both_ways(first[:, None].float() / 255, second[:, None].float() / 255)
    torch.testing.assert_close(LearnedMotion(network).both_ways(first, second), wanted)


def test_smoothing_is_that_of_opencv():
    noise = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(0))
    blurred = cv2.GaussianBlur(noise[0, 0].numpy(), (7, 7), 1.0, borderType=cv2.BORDER_REPLICATE)
    torch.testing.assert_close(smoothed(noise)[0, 0], torch.from_numpy(blurred), atol=1e-5, rtol=0)


def test_dis_is_the_default():
    assert FlowBlendConfig().motion == "dis"
    clip = moving(2, 1, 2)
    assert torch.equal(FlowBlend()(clip), create_model("flow-blend", motion="dis")(clip))


def test_the_network_is_no_parameter_of_the_model_that_uses_it(still):
    model = create_model("vdn-ls3d-small", motion=still)
    assert model.state_dict().keys() == create_model("vdn-ls3d-small").state_dict().keys()


def test_another_source_is_refused():
    with pytest.raises(ValueError, match='motion must be "dis", "learned" or a weight file of pwc-small, got'):
        motion_source("farneback", DIS())
    with pytest.raises(WeightsError, match="no such weight file"):
        motion_source("nowhere.safetensors", DIS())


def test_one_way_is_the_first_of_both_ways(network):
    first, second = luma(moving(2, 1, 2)).split(1, dim=1)
    source = LearnedMotion(network)
    flow = source.one_way(first[:, 0], second[:, 0])
    assert flow.abs().max() > 0.1
    torch.testing.assert_close(flow, source.both_ways(first[:, 0], second[:, 0])[0], rtol=1e-4, atol=1e-4)


def test_the_network_that_ships_finds_a_motion_of_several_pixels():
    first, second = luma(moving(3, -5, 2, size=96)).split(1, dim=1)
    flow = motion_source("learned", DIS()).one_way(first[:, 0], second[:, 0])[0, :, 16:-16, 16:-16]
    for found, true in zip(flow, (5.0, -3.0), strict=True):
        assert (found - true).square().mean().sqrt() < 0.5
