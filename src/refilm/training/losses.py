"""Loss functions."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure


def charbonnier(output: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """Charbonnier loss, the mean of sqrt(d^2 + epsilon^2): like L2 for d far below epsilon, like L1 far above."""
    return ((output - target).square() + epsilon**2).sqrt().mean()


def log_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean over crops and frames of log10 of the mean squared error, which is -PSNR / 10. [N, C, (T,) H, W] twice

    What counts is by which share the error of a frame falls, while a mean of errors is dominated by the frames with the
    largest errors. 1e-6 is added to the mean squared error, so that little can be gained above 60 dB (a root mean
    square error of a quarter of an 8-bit level).
    """
    error = (output - target).square().mean(dim=(1, -2, -1))
    return (error + 1e-6).log10().mean()


def dissimilarity(output: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM, mean over all frames. [N, C, H, W] or [N, C, T, H, W] twice"""
    if output.ndim == 5:
        output, target = (clip.transpose(1, 2).flatten(0, 1) for clip in (output, target))
    value = structural_similarity_index_measure(output, target, data_range=1.0, sigma=1.5)
    assert isinstance(value, Tensor), "torchmetrics gives a pair only when asked for the full image"
    return 1 - value


class Adversary(nn.Module):
    """The two discriminators of the LS3D-Conv paper (3.1), one on single frames, the other on clips.

    The paper does not describe them. Here each has four convolutions, the first three with stride 2 in height and
    width, one output for each patch, and the hinge loss.
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
        """[N, 3, T, H, W] -> the outputs of both discriminators, positive for real frames and clips."""
        return [self.frames(clip.transpose(1, 2).flatten(0, 1)), self.clips(clip)]

    def losses(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(loss of the generator, loss of the discriminators), for `output` and `target` [N, 3, T, H, W].

        The first has no gradient in the discriminators' parameters, the second none in `output`.
        """
        own = {name: parameter.detach() for name, parameter in self.named_parameters()}
        verdicts: list[Tensor] = torch.func.functional_call(self, own, (output,))
        generator = torch.stack([-verdict.mean() for verdict in verdicts]).sum()
        real, false = self(target), self(output.detach())
        judges = torch.stack([F.relu(1 - v).mean() for v in real] + [F.relu(1 + v).mean() for v in false]).sum()
        return generator, judges
