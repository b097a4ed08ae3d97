"""LPIPS: a distance between pictures that agrees with viewers better than PSNR and SSIM do.

Both pictures go through AlexNet; the features of each of its five layers are scaled to unit length at each place, and
their squared differences are weighted, summed over the channels, and averaged over the places. It measures results, and
is no model of a task.

Source   Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, equation
         (1); weights of its version 0.1, "lin" on AlexNet, as converted by `tools/convert_lpips.py`.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from refilm.weights import SHIPPED, load_weights

WEIGHTS = "lpips-alex-e3ea28dd.safetensors"
SMALLEST = 31  # side in pixels of the smallest picture that passes through AlexNet
# (channels, size of the kernel, stride, padding) of AlexNet's convolutions. Two of them have a pooling before them.
_LAYERS = (64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)
_POOLED = 1, 2
# Of RGB in [-1, 1], on the pictures of ImageNet.
_MEAN, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_TINY = 1e-10  # added to lengths, so that features that are all zero can be divided by theirs


class Lpips(nn.Module):
    """The distance of pairs of pictures: 0 for equal ones, above 0.5 for unlike ones."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        self.layers, self.weights = nn.ModuleList(), nn.ParameterList()
        for count, size, stride, padding in _LAYERS:
            self.layers.append(nn.Conv2d(channels, count, size, stride, padding))
            self.weights.append(torch.zeros(count))
            channels = count
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, result: Tensor, truth: Tensor) -> Tensor:
        """Two batches [N, 3, H, W], RGB in [0, 1], sides of at least SMALLEST pixels -> distances [N]"""
        features = self._usual(torch.cat([result, truth]))
        distance = features.new_zeros(len(result))
        for number, (layer, weight) in enumerate(zip(self.layers, self.weights, strict=True)):
            features = layer(self.pool(features) if number in _POOLED else features).relu()
            directions = features / (features.norm(dim=1, keepdim=True) + _TINY)
            ours, theirs = directions.chunk(2)
            distance = distance + torch.einsum("nchw,c->nhw", (ours - theirs).square(), weight).mean((1, 2))
        return distance

    @staticmethod
    def _usual(pictures: Tensor) -> Tensor:
        mean, spread = (pictures.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _SPREAD))
        return (2 * pictures - 1 - mean) / spread


def lpips(result: Tensor, truth: Tensor) -> float:
    """LPIPS of a picture [3, H, W], RGB in [0, 1], to the true one. Raises ValueError if a side is below SMALLEST."""
    if min(truth.shape[1:]) < SMALLEST:
        raise ValueError(f"LPIPS needs pictures of at least {SMALLEST} pixels a side, got {list(truth.shape)}")
    with torch.inference_mode():
        return float(_shipped()(result[None], truth[None]))


@cache
def _shipped() -> Lpips:
    network = Lpips()
    network.load_state_dict(load_weights(SHIPPED / WEIGHTS).state)
    return network.eval()
