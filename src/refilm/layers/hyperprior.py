"""The scale hyperprior: side information that tells how large each latent may be; decoded by whole numbers alone.

Source   Ballé et al., "Variational Image Compression with a Scale Hyperprior", ICLR 2018, arXiv 1802.01436. Whole
         numbers: Ballé, Johnston and Minnen, "Integer Networks for Data Compression with Latent-Variable Models", ICLR
         2019.
Departs  the last layer gives the index of a scale in a table, that is its logarithm, instead of the scale. Integers are
         derived from the trained weights, not trained: an index is off by one at most here and there, which costs some
         hundredths of a percent.

A decoder that gets one probability wrong reads garbage from there on, and floating-point convolutions differ in their
last bits from one machine, number of threads or batch size to the next. So `indices` rounds weights and activations to
fixed-point numbers and computes in float64, where all sums stay below 2^53 and are therefore exact, in any order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.errors import WeightsError
from refilm.layers.entropy_models import SCALES, Bounded, FactorizedModel, bits_of, gaussian_probability, noisy

MULTIPLE = 4  # z has one place for so many places of y along each side
WEIGHT_BITS = 12  # behind the point
ACTIVATION_BITS = 8
LARGEST = float(1 << 23)  # of an activation as a whole number; it is clamped to this
EXACT = 2.0**53  # whole numbers up to this are exact in float64
INDEX_AT_START = 12.0  # a scale of 0.37


class Hyperprior(nn.Module):
    """h_a and h_s of the paper, and the factorised model of z.

    latents   channels of y
    channels  of z and of the hidden layers
    """

    def __init__(self, latents: int, channels: int) -> None:
        super().__init__()
        self.h_a = nn.Sequential(
            nn.Conv2d(latents, channels, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 5, 2, 2),
        )
        self.h_s = nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 5, 2, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, channels, 5, 2, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, latents, 3, 1, 1),
        )
        self.of_z = FactorizedModel(channels)
        for layer in (*self.h_a, *self.h_s):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        last = self.h_s[-1]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, INDEX_AT_START)

    def forward(self, y: Tensor) -> Tensor:
        """The bits that y takes, rounded and with its side information. [N, M, h, w] -> [N]

        In training, noise stands for rounding, see `noisy`.
        """
        quantised = noisy if self.training else torch.round
        with torch.autocast(y.device.type, enabled=False):  # noise and scales need more digits than bfloat16 has
            z = quantised(self.analysed(y))
            if self.training:
                index = Bounded.apply(self.h_s(z)[..., : y.shape[2], : y.shape[3]], 0.0, SCALES - 1.0)
            else:
                index = self.indices(z, *y.shape[2:]).to(y.dtype)
        return bits_of(self.of_z.probability(z)) + bits_of(gaussian_probability(quantised(y), index))

    def analysed(self, y: Tensor) -> Tensor:
        """z before it is rounded. [N, M, h, w] -> [N, channels, ceil(h / MULTIPLE), ceil(w / MULTIPLE)]"""
        z: Tensor = self.h_a(F.pad(y.abs(), (0, -y.shape[3] % MULTIPLE, 0, -y.shape[2] % MULTIPLE)))
        return z

    @torch.no_grad()
    def indices(self, z: Tensor, height: int, width: int) -> Tensor:
        """The index of the scale of each y, exactly. Whole numbers [N, channels, h', w'] -> int64 [N, M, height, width]

        Raises WeightsError if weights are so large that sums might not be exact.
        """
        layers = [layer for layer in self.h_s if isinstance(layer, nn.ConvTranspose2d)]
        x = (z.double() * 2**ACTIVATION_BITS).clamp(-LARGEST, LARGEST)
        for layer in layers:
            weight, bias = fixed_point(layer)
            x = F.conv_transpose2d(x, weight, bias, layer.stride, layer.padding, layer.output_padding)  # type: ignore[arg-type]
            dropped = WEIGHT_BITS + (ACTIVATION_BITS if layer is layers[-1] else 0)
            x = (x / 2**dropped + 0.5).floor()  # divided by a power of two, which is exact
            x = x.clamp(0, SCALES - 1 if layer is layers[-1] else LARGEST)
        return x[..., :height, :width].long()


def fixed_point(layer: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Weights and biases as whole numbers in float64, in units of 2^-WEIGHT_BITS and of products with activations.

    Raises WeightsError if sums might exceed EXACT.
    """
    assert layer.bias is not None
    weight = (layer.weight.double() * 2**WEIGHT_BITS).round()
    bias = (layer.bias.double() * 2 ** (WEIGHT_BITS + ACTIVATION_BITS)).round()
    most = float((weight.abs().sum((0, 2, 3)) * LARGEST + bias.abs()).max())
    if not most < EXACT:
        raise WeightsError("the weights of the hyperprior's decoder are too large to be computed exactly")
    return weight, bias
