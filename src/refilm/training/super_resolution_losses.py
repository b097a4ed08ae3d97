"""Losses of super-resolution for recognition, SoSR and ToSR.

Source   Zhang et al., "Two-Stream Action Recognition-Oriented Video Super-Resolution", ICCV 2019, arXiv 1903.05577:
         (3.1.2) weights by motion, (3.2.2) siamese training; the adversarial and the feature loss are those of ESRGAN,
         arXiv 1809.00219 (3.2, 3.3).
Departs  motion by DIS, not by FlowNet 2 and TV-L1; weights are relative to the mean of their patch, and clipped; warped
         pixels from beyond the crop are left out; MobileNetV2 instead of VGG-19: docs/choices.md#recognisable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.backbones import freeze, make_backbone, normalised
from refilm.layers.sampling import pixel_grid, sample

LEAST_WEIGHT, MOST_WEIGHT = 0.1, 10.0
BACKBONE = "mobilenet-v2"
STRIDE_OF_JUDGE = 32


def motion_weights(flow: Tensor) -> Tensor:
    """How much each pixel of a patch counts: |flow| / mean |flow|, clipped to [0.1, 10]. [N, 2, H, W] -> [N, 1, H, W]

    The paper weights by |flow| alone (3.1.2). Relative to its mean, a patch that moves slowly counts as much as a fast
    one; clipped, its still parts are learned as well. 1 everywhere where nothing moves.
    """
    size = flow.norm(dim=1, keepdim=True)
    mean = size.mean(dim=(2, 3), keepdim=True)
    relative = torch.where(mean > 0, size / mean, 1.0)
    return relative.clamp(LEAST_WEIGHT, MOST_WEIGHT)


def weighted_squared_error(output: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """The mean over pixels of weight * (output - truth)^2 (3.1.2). [N, C, H, W] twice, [N, 1, H, W] -> scalar"""
    return (weights * (output - truth).square()).mean()


def siamese_terms(
    outputs: tuple[Tensor, Tensor],
    truths: tuple[Tensor, Tensor],
    flow: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The four terms of ToSR's loss (3.2.2), for two consecutive frames. -> [4]

    d(SR_1, HR_1), d(SR_2, HR_2), d(warp(SR_2), SR_1), d(warp(SR_2), HR_1)

    where warp(SR_2)(p) = SR_2(p + flow(p)), bilinearly. Pixels whose flow leads out of the picture are left out of the
    last two: both sides are 0 there.

    outputs   SR_1 and SR_2, [N, 3, H, W] each
    truths    HR_1 and HR_2, [N, 3, H, W] each
    flow      [N, 2, H, W]   from the first to the second frame, (dx, dy) in pixels
    distance  d; the published code has the Huber loss with delta = 0.01
    """
    (first, second), (truth, truth_after) = outputs, truths
    height, width = flow.shape[2:]
    places = pixel_grid(height, width, flow.device) + flow
    last = flow.new_tensor([width - 1.0, height - 1.0]).view(1, 2, 1, 1)
    inside = ((places >= 0) & (places <= last)).all(dim=1, keepdim=True)
    warped = sample(second, places) * inside
    return torch.stack(
        [
            distance(first, truth),
            distance(second, truth_after),
            distance(warped, first * inside),
            distance(warped, truth * inside),
        ]
    )


class FeatureDistance(nn.Module):
    """The mean absolute difference of features of a trained network, mean over its maps (ESRGAN, 3.3).

    The maps of MobileNetV2 by which its blocks end have no activation, as ESRGAN's features have none.
    """

    def __init__(self, maps: Sequence[str]) -> None:
        super().__init__()
        self._maps = tuple(maps)
        self.backbone = make_backbone(BACKBONE)
        names = list(self.backbone.sizes)
        unknown = [name for name in maps if name not in names]
        if unknown or not maps:
            raise ValueError(f"feature_maps must be maps of {BACKBONE}, {names[0]} to {names[-1]}, got {list(maps)}")
        self.backbone.end_at(max(maps, key=names.index))
        freeze(self.backbone)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, so that batch normalisation keeps its statistics."""
        return super().train(False)

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """[N, 3, H, W] twice, RGB in [0, 1] -> scalar"""
        with torch.no_grad():
            wanted = self.backbone.maps(normalised(truth), self._maps)
        found = self.backbone.maps(normalised(output), self._maps)
        return torch.stack([(found[name].float() - wanted[name].float()).abs().mean() for name in self._maps]).mean()


class RelativisticJudge(nn.Module):
    """ESRGAN's discriminator: which of two sets of pictures looks more real than the other is on average (3.2).

    side      S of the pictures, a multiple of 32
    features  width of the first layer. With 64 and pictures of 128 pixels it is the published "VGG-128"
    """

    def __init__(self, side: int, features: int = 64) -> None:
        super().__init__()
        if side % STRIDE_OF_JUDGE:
            raise ValueError(f"crop must be a multiple of {STRIDE_OF_JUDGE} (the judge's stride), got {side}")
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.LeakyReLU(0.2)]
        channels = features
        for level, factor in enumerate((1, 2, 4, 8, 8)):
            if level:
                layers += _judging(channels, factor * features, 3, 1)
            channels = factor * features
            layers += _judging(channels, channels, 4, 2)
        hidden = nn.Linear(channels * (side // STRIDE_OF_JUDGE) ** 2, 100)
        self.layers = nn.Sequential(*layers, nn.Flatten(), hidden, nn.LeakyReLU(0.2), nn.Linear(100, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """[N, 3, S, S], RGB in [0, 1] -> [N], the larger the more real a picture looks"""
        verdicts: Tensor = self.layers(pictures)[:, 0].float()
        return verdicts

    def losses(self, output: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """(loss of the generator, loss of the judge), for `output` and `truth` [N, 3, S, S].

        With C the verdicts and D(a, b) = sigmoid(C(a) - mean C(b)), over a batch (3.2):

        judge      -(mean log D(truth, output) + mean log(1 - D(output, truth))) / 2
        generator  -(mean log(1 - D(truth, output)) + mean log D(output, truth)) / 2

        The paper has no halves, its code has. The first loss has no gradient in the judge's parameters, the second
        none in `output`.
        """
        own = {name: parameter.detach() for name, parameter in self.named_parameters()}
        made: Tensor = torch.func.functional_call(self, own, (output,))
        with torch.no_grad():
            real = self(truth)
        generator = _unlikely(made - real.mean(), True) + _unlikely(real - made.mean(), False)
        real, made = self(truth), self(output.detach())
        judge = _unlikely(real - made.mean(), True) + _unlikely(made - real.mean(), False)
        return generator / 2, judge / 2


def _judging(channels: int, out: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, kernel, stride, padding=1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]


def _unlikely(verdicts: Tensor, real: bool) -> Tensor:
    """-mean log of the probability, sigmoid of the verdict, that pictures are `real`, or that they are not."""
    return F.softplus(-verdicts if real else verdicts).mean()
