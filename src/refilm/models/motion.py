"""Where the motion of a model comes from: DIS, or a learned network (`refilm.models.pwc_net`).

Every model that uses motion names its source in the field `motion` of its config: "dis", which is the default;
"learned", for the network with the weights that ship; or a weight file of the network. DIS runs on the CPU only, so
with a GPU each frame waits for it; the network runs where the model does. docs/choices.md#learned-motion
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.layers.optical_flow import DIS, SMOOTHING, MotionSource
from refilm.models.pwc_net import PWCNet
from refilm.models.table import create_model

NETWORK = "pwc-small"


def motion_source(motion: str, dis: DIS) -> MotionSource:
    """The source that a config names; `dis` says how a model uses DIS.

    Raises ValueError for another name, WeightsError if the weights are missing, damaged or of something else.
    """
    if motion == "dis":
        return dis
    if motion == "learned":
        return LearnedMotion(_network("default"))
    if motion.endswith(".safetensors"):
        return LearnedMotion(_network(motion))
    raise ValueError(f'motion must be "dis", "learned" or a weight file of {NETWORK}, got {motion!r}')


class LearnedMotion:
    """Motion by a network, on the device of the frames. It takes frames of any size."""

    def __init__(self, network: PWCNet) -> None:
        self._network = network

    @torch.no_grad()
    def both_ways(self, first: Tensor, second: Tensor) -> Tensor:
        """See `MotionSource`."""
        return self._network.to(first.device).both_ways(_unit(first), _unit(second))

    @torch.no_grad()
    def one_way(self, first: Tensor, second: Tensor) -> Tensor:
        """See `MotionSource`."""
        flow: Tensor = self._network.to(first.device)(_unit(first), _unit(second))
        return flow

    @torch.no_grad()
    def from_centre(self, clips: Tensor) -> Tensor:
        """See `MotionSource`."""
        network, centre = self._network.to(clips.device), clips.shape[1] // 2
        seen = [network.features(smoothed(_unit(frame))) for frame in clips.unbind(1)]
        flows = [
            torch.zeros_like(clips[:, :2], dtype=torch.float32)
            if t == centre
            else network.levels(seen[centre], there)[-1][..., : clips.shape[2], : clips.shape[3]]
            for t, there in enumerate(seen)
        ]
        return torch.stack(flows, dim=1)


def smoothed(planes: Tensor) -> Tensor:
    """Smooth by a Gaussian of SMOOTHING pixels, over seven pixels a side. [N, 1, H, W] -> same shape"""
    steps = torch.arange(-3.0, 4.0, device=planes.device)
    taps = (-(steps**2) / (2 * SMOOTHING**2)).exp()
    taps = taps / taps.sum()
    padded = F.pad(planes, (3,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 7, 1)), taps.view(1, 1, 1, 7))


def _unit(luma: Tensor) -> Tensor:
    """[N, H, W] uint8 -> [N, 1, H, W] in [0, 1]"""
    return luma[:, None].float() / 255


@cache
def _network(weights: str) -> PWCNet:
    """The same for all models, since it takes memory."""
    network = create_model(NETWORK, weights)
    assert isinstance(network, PWCNet)
    return network.requires_grad_(False)
