"""The scale hyperprior: learned compression of single pictures.

Source   Ballé et al., "Variational Image Compression with a Scale Hyperprior", ICLR 2018, arXiv 1802.01436. One weight
         file for all qualities: Cui et al., "Asymmetric Gained Deep Image Compression", CVPR 2021, arXiv 2003.02012.
Departs  the hyperprior's decoder computes in whole numbers, see `layers/hyperprior.py`; gains for each quality; in
         training, rates are those of latents with noise, and pictures are made of rounded ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refilm.layers.codec_transforms import analysis, synthesis
from refilm.layers.entropy_models import Bounded, Gains, gaussian_counts, rounded
from refilm.layers.hyperprior import Hyperprior
from refilm.models.dvc import LAMBDAS, RESIDUAL_STEP, Coded


@dataclass(frozen=True)
class ScaleHyperpriorConfig:
    """Defaults: the paper's smaller size.

    channels  of the transforms and of the hyperprior, N in the paper
    latents   channels of the latent, M in the paper
    lambdas   as in `DVCConfig`

    Raises ValueError for values out of range.
    """

    channels: int = 128
    latents: int = 192
    lambdas: Sequence[float] = LAMBDAS

    def __post_init__(self) -> None:
        object.__setattr__(self, "lambdas", tuple(self.lambdas))  # JSON and TOML give lists
        if not self.lambdas or list(self.lambdas) != sorted(self.lambdas) or self.lambdas[0] <= 0:
            raise ValueError(f"lambdas must be above 0 and ascend, got {list(self.lambdas)}")


class ScaleHyperprior(nn.Module):
    """g_a, g_s and the hyperprior of the paper.

    y_counts   int32 [SCALES, K], tables of the latent, by the index of their scale
    z_counts   int32 [C, K], tables of the side information
    """

    y_counts: Tensor
    z_counts: Tensor

    def __init__(self, config: ScaleHyperpriorConfig = ScaleHyperpriorConfig()) -> None:
        super().__init__()
        self.config = config
        self.g_a = analysis(3, config.channels, config.latents)
        self.g_s = synthesis(config.latents, config.channels, 3)
        self.gains = Gains(config.lambdas, config.latents, RESIDUAL_STEP)
        self.hyperprior = Hyperprior(config.latents, config.channels)
        self.register_buffer("y_counts", gaussian_counts())
        self.register_buffer("z_counts", self.hyperprior.of_z.counts())

    @torch.no_grad()
    def finish(self) -> None:
        """Make the tables by which latents are coded from the trained distributions."""
        self.z_counts.copy_(self.hyperprior.of_z.counts())

    def coded(self, frame: Tensor, quality: Tensor) -> Coded:
        """A picture [N, 3, H, W] in [0, 1], H and W multiples of 16, at qualities [N], indices of `lambdas`."""
        y = self.g_a(frame - 0.5) * self.gains.before(quality)
        return Coded(self.completed(rounded(y), quality), self.hyperprior(y))

    def completed(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        """Rounded latent -> the decoded picture [N, 3, H, W], in [0, 1]."""
        picture: Tensor = Bounded.apply(self.g_s(y_hat * self.gains.after(quality)) + 0.5, 0.0, 1.0)
        return picture
