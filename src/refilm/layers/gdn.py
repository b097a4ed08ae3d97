"""Generalised divisive normalisation, the nonlinearity of learned codecs.

Source   Ballé, Laparra and Simoncelli, "Density Modeling of Images Using a Generalized Normalization Transformation",
         ICLR 2016, arXiv 1511.06281; with exponents 2 and 1/2 as in "End-to-end Optimized Image Compression", ICLR
         2017, arXiv 1611.01704.
Departs  beta and gamma are squares of the parameters, which keeps them positive without a projection.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_BETA = 1e-6  # keeps the root away from zero
GAMMA_AT_START = 0.02  # on the diagonal
_OFF_DIAGONAL = 0.01  # root of gamma beside the diagonal; at exactly zero its gradient would be zero


class GDN(nn.Module):
    """x_i / sqrt(beta_i + sum_j gamma_ij x_j^2) at each place; with inverse=True, times the root. [N, C, H, W] -> same.

    channels  C
    inverse   IGDN, the approximate inverse that synthesis transforms use
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.root_beta = nn.Parameter(torch.ones(channels))
        diagonal = GAMMA_AT_START**0.5 * torch.eye(channels)
        self.root_gamma = nn.Parameter(diagonal.clamp(min=_OFF_DIAGONAL))

    @property
    def beta(self) -> Tensor:
        """[C], positive"""
        return self.root_beta.square() + LEAST_BETA

    @property
    def gamma(self) -> Tensor:
        """[C, C], not negative"""
        return self.root_gamma.square()

    def forward(self, x: Tensor) -> Tensor:
        energy = F.conv2d(x.square(), self.gamma[:, :, None, None], self.beta)
        return x * (energy.sqrt() if self.inverse else energy.rsqrt())
