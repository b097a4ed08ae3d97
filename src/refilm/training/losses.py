"""What a training makes small."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure


def charbonnier(output: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2): L2 far below epsilon, L1 far above."""
    return ((output - target).square() + epsilon**2).sqrt().mean()


def log_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean over crops and frames of log10 of the mean square error: minus PSNR, in tens of dB. [N, C, ...] twice

    Each counts by the share its error falls by, where a sum of errors is ruled by the few that are hopeless. Above 60
    dB (an error below a quarter of an 8-bit level) there is nothing to gain.
    """
    error = (output - target).square().mean(dim=(1, -2, -1))
    return (error + 1e-6).log10().mean()


def dissimilarity(output: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM, the mean over all frames. [N, C, H, W] or [N, C, T, H, W] twice."""
    if output.ndim == 5:
        output, target = (clip.transpose(1, 2).flatten(0, 1) for clip in (output, target))
    value = structural_similarity_index_measure(output, target, data_range=1.0, sigma=1.5)
    assert isinstance(value, Tensor), "torchmetrics gives a pair only when asked for the full image"
    return 1 - value


class Adversary(nn.Module):
    """The paper's two judges: one looks at single frames, the other at whole clips (LS3D-Conv, 3.1).

    Their form is open in the paper; chosen: four convolutions with stride, a verdict a patch, and the hinge loss.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()

        def judge(
            kind: type[nn.Conv2d] | type[nn.Conv3d], kernel: tuple[int, ...], stride: tuple[int, ...]
        ) -> nn.Module:
            sizes = [3, width, 2 * width, 4 * width]
            padding = tuple(1 if k > 1 else 0 for k in kernel)
            layers: list[nn.Module] = []
            for before, after in itertools.pairwise(sizes):
                layers += [kind(before, after, kernel, stride, padding), nn.LeakyReLU(0.2)]  # type: ignore[arg-type]
            return nn.Sequential(*layers, kind(sizes[-1], 1, kernel, 1, padding))  # type: ignore[arg-type]

        self.frames = judge(nn.Conv2d, (4, 4), (2, 2))
        self.clips = judge(nn.Conv3d, (3, 4, 4), (1, 2, 2))

    def forward(self, clip: Tensor) -> list[Tensor]:
        """[N, 3, T, H, W] -> verdicts, positive for real, of both judges."""
        return [self.frames(clip.transpose(1, 2).flatten(0, 1)), self.clips(clip)]

    def losses(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(what the generator makes small, what the judges do); neither moves the other's parameters."""
        own = {name: parameter.detach() for name, parameter in self.named_parameters()}
        verdicts: list[Tensor] = torch.func.functional_call(self, own, (output,))
        generator = torch.stack([-verdict.mean() for verdict in verdicts]).sum()
        real, false = self(target), self(output.detach())
        judges = torch.stack([F.relu(1 - v).mean() for v in real] + [F.relu(1 + v).mean() for v in false]).sum()
        return generator, judges
