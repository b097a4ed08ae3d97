"""DnCNN, and DnCNN + OFF: removal of compression artifacts and noise.

Source   Zhang et al., "Beyond a Gaussian Denoiser", IEEE TIP 2017, arXiv 1608.03981; "Optical flow guided feature",
         section on compression-artifact removal: 20 convolutions without batch normalisation; with OFF, three
         convolutions for each frame, an OFF unit between neighbours, 5 convolutions summed back into the features of
         the frame to restore, 18 more.
Departs  input in RGB; one model for all codecs and qualities; initialisation; OFF adds its branches to the 20
         convolutions, not to 3 + 18. By config, work at half the size, and the strength of the noise as an input:
         docs/choices.md#restoration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.clips import strength_planes, unshuffle
from refilm.layers.residual import BRANCH_AT_START
from refilm.models.contract import Restorer, check_clip
from refilm.ops import off

BEFORE_OFF, AFTER_OFF = 3, 5  # convolutions for each frame, and between the OFF unit and the sum


@dataclass(frozen=True)
class DnCNNConfig:
    """Defaults: the layers of the paper's network without OFF.

    task      "deblocking" or "denoising"; a denoiser has the strength of the noise as a further input
    features  width of every hidden layer
    depth     number of convolutions from the input to the output, those of the OFF branches not counted
    frames    1: DnCNN; 2: OFF between the previous frame and this one; 3: also between this one and the next
    shuffle   the network works on the frame reduced by this factor: `shuffle` x `shuffle` pixels become channels

    Raises ValueError for other tasks and numbers of frames, and for a depth below 4.
    """

    task: Literal["deblocking", "denoising"] = "deblocking"
    features: int = 64
    depth: int = 20
    frames: int = 1
    shuffle: int = 1

    def __post_init__(self) -> None:
        if self.task not in ("deblocking", "denoising"):
            raise ValueError(f'task must be "deblocking" or "denoising", got {self.task!r}')
        if self.frames not in (1, 2, 3):
            raise ValueError(f"frames must be 1, 2 or 3, got {self.frames}")
        if self.depth < BEFORE_OFF + 1:
            raise ValueError(f"depth must be at least {BEFORE_OFF + 1}, got {self.depth}")


class OFFBranch(nn.Module):
    """Optical flow guided features of two neighbouring frames: 1x1 convolution, OFF, 5 convolutions."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(features, features, 1)
        layers = [nn.Conv2d(3 * features, features, 3, padding=1)]
        layers += [nn.Conv2d(features, features, 3, padding=1) for _ in range(AFTER_OFF - 2)]
        self.after = with_relus(layers)
        self.last = nn.Conv2d(features, features, 3, padding=1)  # no ReLU: what it adds to the features may be negative

    def forward(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Features of two neighbours, [N, C, H, W] twice -> what is added to those of the frame to restore."""
        out: Tensor = self.last(self.after(off(self.reduce(earlier), self.reduce(later))))
        return out


class DnCNN(nn.Module, Restorer):
    """Estimates the degradation of the middle frame, and subtracts it."""

    temporal_filter = None

    def __init__(self, config: DnCNNConfig = DnCNNConfig()) -> None:
        super().__init__()
        self.config, self.task = config, config.task
        c, planes = config.features, 3 * config.shuffle**2
        strength = 2 if config.task == "denoising" else 0
        first = nn.Conv2d(planes + strength, c, 3, padding=1)
        self.before = with_relus([first, *(nn.Conv2d(c, c, 3, padding=1) for _ in range(BEFORE_OFF - 1))])
        self.branches = nn.ModuleList(OFFBranch(c) for _ in range(config.frames - 1))
        rest = config.depth - BEFORE_OFF - 1
        # the paper has 3 + 18 convolutions with OFF and 20 without; here it is `depth` in both cases, plus the branches
        self.after = with_relus([nn.Conv2d(c, c, 3, padding=1) for _ in range(rest)])
        self.last = nn.Conv2d(c, planes, 3, padding=1)
        self.reset_parameters()

    @property
    def window(self) -> int:
        """Frames in the input; the middle one is restored."""
        return 1 if self.config.frames == 1 else 3

    @property
    def size_multiple(self) -> int:
        """H and W must be multiples of this."""
        return self.config.shuffle

    @property
    def reach(self) -> int:
        """Pixels of context a result depends on, on each side."""
        off_adds = 1 + AFTER_OFF if self.config.frames > 1 else 0
        # distance from a pixel at one edge of its square of `shuffle` pixels to the far edge of the outermost square
        return self.config.shuffle * (self.config.depth + off_adds + 1) - 1

    def reset_parameters(self) -> None:
        """Initialise hidden layers near the identity, and the last layers of the network and of the branches as zero.

        The network starts as the identity. With the paper's Xavier uniform, the last hidden layer was zero everywhere
        after 500 steps at a learning rate of 1e-3 (docs/choices.md#restoration).
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
                if module.in_channels == module.out_channels:
                    with torch.no_grad():
                        module.weight.mul_(BRANCH_AT_START).add_(nn.init.dirac_(torch.empty_like(module.weight)))
        nn.init.zeros_(self.last.weight)
        for branch in self.branches:
            assert isinstance(branch, OFFBranch)
            nn.init.zeros_(branch.last.weight)

    def forward(self, clip: Tensor, sigma_8bit: float | Tensor | None = None) -> Tensor:
        """[N, 3, T, H, W], RGB in [0, 1], T = `window` -> [N, 3, H, W], the middle frame restored, not clamped.

        sigma_8bit  for a denoiser, as in `VDNLS3D.forward`

        Raises as `check_clip`.
        """
        check_clip(self, clip)
        return self.network(self.prepare(clip), sigma_8bit)

    def network(self, prepared: Tensor, sigma_8bit: float | Tensor | None = None) -> Tensor:
        """See `Restorer.network`."""
        centre = prepared[:, :, self.window // 2]
        # with two frames, the window is still three, but the next frame is not used
        x = unshuffle(prepared[:, :, : self.config.frames], self.config.shuffle) - 0.5
        if self.task == "denoising":
            strength = strength_planes(sigma_8bit, prepared)[:, :, None, None, None].expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, strength], dim=1)
        frames = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.before(frames).unflatten(0, (prepared.shape[0], -1)).unbind(1)
        result = features[self.window // 2]
        for number, branch in enumerate(self.branches):
            result = result + branch(features[number], features[number + 1])
        degradation = F.pixel_shuffle(self.last(self.after(result)), self.config.shuffle)
        return centre - degradation


def with_relus(layers: list[nn.Conv2d]) -> nn.Sequential:
    """Each layer followed by a ReLU."""
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))
