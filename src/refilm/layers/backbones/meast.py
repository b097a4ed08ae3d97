"""MEAST, the multi-scale efficient asymmetric spatial-temporal block: a 2D network learns to see motion.

Source   "Multi-Scale Efficient Asymmetric Spatial-Temporal Block", published as "Video-ception Network", arXiv
         2007.11460. Its abstract names the parts: asymmetric kernels of several scales side by side, and an "optimised
         feature interaction layer" of which channel shuffle and channel concatenation are special cases.
Chosen   all sizes, so that the block costs at most 15 % more than the layer it replaces: docs/choices.md#recognition.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refilm.layers.backbones.backbone import Backbone, Temporal
from refilm.layers.backbones.inverted_residual import InvertedResidual
from refilm.layers.backbones.resnet import Bottleneck
from refilm.layers.conv3d import Conv3d

Kernel = tuple[int, int, int]  # frames, height and width

KERNELS: tuple[Kernel, ...] = ((1, 3, 3), (3, 3, 3), (5, 1, 1), (1, 5, 5))  # in the place of a full convolution
DEPTHWISE: tuple[Kernel, ...] = ((1, 3, 3), (3, 1, 1), (5, 1, 1))  # in the place of a depthwise one


class FeatureInteraction(nn.Module):
    """A learned mixing of channels that come from several branches: a relaxed permutation.

    Bundles of `bundle` channels are mixed by a square matrix each. If there are k bundles, every k-th channel belongs
    to the same, so with as many channels in a bundle as there are branches, it has one of each. The matrices begin as
    the identity, which concatenates the branches. A single bundle of all channels can be any permutation, also channel
    shuffle. [N, channels, H, W] -> same shape
    """

    def __init__(self, channels: int, bundle: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(bundle).repeat(channels // bundle, 1, 1))  # [bundles, out, in]

    def forward(self, x: Tensor) -> Tensor:
        bundles, bundle = self.weight.shape[:2]
        mixed = torch.einsum("goi,nighw->noghw", self.weight, x.unflatten(1, (bundle, bundles)))
        return mixed.flatten(1, 2)

    def roughness(self) -> Tensor:
        """The mean square distance of W W^T from the identity: zero for permutations, and for other rotations."""
        identity = torch.eye(self.weight.shape[1], device=self.weight.device)
        return (self.weight @ self.weight.mT - identity).square().mean()


class MEAST(Temporal):
    """Groups of channels, each seen by a kernel of its own, and the interaction of their features.

    [N * length, channels, H, W] -> [N * length, channels, H / stride, W / stride]

    depthwise   each channel has a kernel, and an interaction with one of each other branch; else both are full
    """

    def __init__(self, channels: int, stride: int, kernels: Sequence[Kernel], depthwise: bool) -> None:
        super().__init__()
        group = channels // len(kernels)
        self.branches = nn.ModuleList(
            Conv3d(
                group,
                group,
                kernel,
                (1, stride, stride),
                (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2),
                groups=group if depthwise else 1,
                bias=False,
            )
            for kernel in kernels
        )
        self.interaction = FeatureInteraction(channels, len(kernels) if depthwise else channels)

    def forward(self, x: Tensor, length: int) -> Tensor:
        groups = x.unflatten(0, (-1, length)).transpose(1, 2).chunk(len(self.branches), dim=1)
        seen = [branch(group) for branch, group in zip(self.branches, groups, strict=True)]
        return self.interaction(torch.cat(seen, dim=1).transpose(1, 2).flatten(0, 1))


def asymmetric(backbone: Backbone) -> Backbone:
    """The same backbone with MEAST in the place of the 3x3 convolutions of its residual blocks.

    Those of inverted residual blocks that do not expand the channels are left.
    """
    for module in backbone.modules():
        if isinstance(module, Bottleneck) and isinstance(module.conv2, nn.Conv2d):
            module.conv2 = MEAST(module.conv2.in_channels, module.conv2.stride[0], KERNELS, depthwise=False)
        elif isinstance(module, InvertedResidual) and module.middle:
            conv = module.conv[module.middle]
            assert isinstance(conv, nn.Conv2d)
            module.conv[module.middle] = MEAST(conv.in_channels, conv.stride[0], DEPTHWISE, depthwise=True)
    backbone.renewed = tuple(f"{name}." for name, module in backbone.named_modules() if isinstance(module, MEAST))
    return backbone
