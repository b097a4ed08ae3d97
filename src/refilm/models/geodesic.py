"""Geodesics on a learned data manifold, which are run through at constant speed.

Source   Geng et al., "Uniform Interpolation Constrained Geodesic Learning on Data Manifold", arXiv 2002.04829.
Departs  where its text leaves room; each choice is in docs/choices.md#geodesics.

Samples x lie on a manifold M in the Euclidean space R^n: points, or pictures with n numbers. An encoder E maps M to
codes z in R^d, and a decoder D maps codes back, D(E(x)) = x. Two things are learned.

**A space whose codes are convex.** Whatever lies between two codes is to be decoded into M:

    D(g(z0, z1, t)) in M  for all z0, z1 in E(M), t in [0, 1]

For this the autoencoder is trained against a critic, which tells decoded interpolations from samples, and with prior
geometric information: codes are to be as far apart as their samples are along M (`geometric_prior`).

**A curve between two codes.** The interpolation network g bends the straight line, and keeps its ends exactly:

    g(z0, z1, t) = (1 - t) z0 + t z1 + t (1 - t) |z1 - z0| r(z0, z1, t)

D induces a Riemannian metric on the codes from the canonical one of R^n, into which M is immersed. With the Jacobian
J = dD/dz of the decoder,

    G(z) = J(z)^T J(z),      |dx/dt|^2 = (dz/dt)^T G(z) (dz/dt)   for x(t) = D(z(t)),  z(t) = g(z0, z1, t)

so that the length of the curve in M is L = integral of |dx/dt| dt over [0, 1]. Of all curves between two points, a
minimising geodesic has the least L. By the inequality of Cauchy and Schwarz, L^2 is at most the energy, the integral of
|dx/dt|^2, and equal to it only if |dx/dt| is constant: a geodesic runs at constant speed, and its pictures at equal
steps of t are equally far apart. Length does not depend on the speed, so each has a loss of its own:

    constant speed        `speed_loss`    variance of |dx/dt| over t, divided by the square of its mean
    minimising geodesic   `length_loss`   log L

Both are pure numbers, and do not depend on the scale of the data. dx/dt is found by forward-mode differentiation,
`torch.func.jvp`: one pass gives D and its derivative along the curve, for any n, without J or G.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from refilm.models.contract import Space


@dataclass(frozen=True)
class GeodesicConfig:
    """Defaults: small pictures in colour.

    shape     of a sample: (n,) for points, (C, H, W) for pictures, in [0, 1]
    code      d, the number of coordinates of a code
    width     of the hidden layers, or of the first convolution, which doubles each time the sides are halved
    halvings  how often convolutions halve the sides of pictures; 0: fully connected layers
    depth     number of hidden layers where they are fully connected
    bend      width of the hidden layers of the interpolation network

    Raises ValueError for sides that cannot be halved so often.
    """

    shape: tuple[int, ...] = (3, 32, 32)
    code: int = 8
    width: int = 24
    halvings: int = 3
    depth: int = 3
    bend: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))  # JSON and TOML give lists
        if len(self.shape) not in (1, 3):
            raise ValueError(f"shape must be [n] for points or [C, H, W] for pictures, got {list(self.shape)}")
        multiple = 2**self.halvings
        if self.halvings and (len(self.shape) != 3 or any(side % multiple for side in self.shape[1:])):
            raise ValueError(f"the sides of pictures must be multiples of {multiple}, got {list(self.shape)}")


class Curve(NamedTuple):
    """P curves in the manifold, at T moments each.

    samples    [P, T, *shape]   x(t)
    velocity   [P, T, *shape]   dx/dt
    """

    samples: Tensor
    velocity: Tensor

    @property
    def speed(self) -> Tensor:
        """|dx/dt|, [P, T], in the Euclidean norm of R^n."""
        # 1e-12 keeps the derivative of the root finite where a curve rests
        return (self.velocity.flatten(2).square().sum(2) + 1e-12).sqrt()


class Geodesic(nn.Module, Space):
    """An autoencoder, and the interpolation network of its codes."""

    task = "morphing"

    def __init__(self, config: GeodesicConfig = GeodesicConfig()) -> None:
        super().__init__()
        self.config = config
        if config.halvings:
            self.encoder, self.decoder = _convolutional(config)
        else:
            self.encoder, self.decoder = _connected(config)
        self.bend = Bend(config.code, config.bend)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.config.shape

    def encode(self, samples: Tensor) -> Tensor:
        """[N, *shape] -> codes [N, d]"""
        return self.encoder(samples)

    def decode(self, codes: Tensor) -> Tensor:
        """[N, d] -> samples [N, *shape]; pictures lie in [0, 1]."""
        return self.decoder(codes)

    def between(self, z0: Tensor, z1: Tensor, times: Tensor) -> Tensor:
        """g(z0, z1, t). [P, d], [P, d], [P, T] in [0, 1] -> [P, T, d]; exactly z0 at t = 0 and z1 at t = 1."""
        return straight(z0, z1, times) + self.bend(z0, z1, times)

    def curve(self, z0: Tensor, z1: Tensor, times: Tensor, is_straight: bool = False) -> Curve:
        """The curve that `between` decodes to, with its velocity. [P, d], [P, d], [P, T]

        is_straight   whether to leave out the bend: linear interpolation of the codes
        """
        return self._curve(z0, z1, times, is_straight, dict(self.decoder.named_parameters()))

    def curve_in_rest(self, z0: Tensor, z1: Tensor, times: Tensor) -> Curve:
        """`curve`, from which only the interpolation network learns: the decoder, and so the metric, is at rest."""
        at_rest = {name: value.detach() for name, value in self.decoder.named_parameters()}
        return self._curve(z0.detach(), z1.detach(), times, False, at_rest)

    def _curve(self, z0: Tensor, z1: Tensor, times: Tensor, is_straight: bool, decoder: Mapping[str, Tensor]) -> Curve:
        def x(t: Tensor) -> Tensor:
            codes = straight(z0, z1, t) if is_straight else self.between(z0, z1, t)
            samples: Tensor = functional_call(self.decoder, dict(decoder), (codes.flatten(0, 1),))
            return samples.unflatten(0, t.shape)

        times = times.contiguous()  # an expanded tensor would take one tangent for all
        # each sample depends on its own moment alone, so one tangent of ones gives the derivative at all of them
        found = jvp(x, (times,), (torch.ones_like(times),))
        return Curve(found[0], found[1])

    def speed(self, z0: Tensor, z1: Tensor, times: Tensor) -> Tensor:
        """|dx/dt| of the learned curve. [P, d], [P, d], [P, T] -> [P, T]"""
        return self.curve(z0, z1, times).speed

    def metric(self, code: Tensor) -> Tensor:
        """G = J^T J at a code. [d] -> [d, d], symmetric and positive semidefinite."""
        jacobian = torch.func.jacfwd(lambda z: self.decode(z[None]).flatten())(code)  # [n, d]
        return jacobian.T @ jacobian

    def forward(self, samples: Tensor) -> Tensor:
        """D(E(x)), what the space makes of samples. [N, *shape], same shape."""
        return self.decode(self.encode(samples))


class Bend(nn.Module):
    """t (1 - t) |z1 - z0| r(z0, z1, t), by which a curve of codes departs from the straight line.

    r is the mean of a network there and back, so that the way from z1 to z0 is the same one. It begins with zero.
    """

    def __init__(self, code: int, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2 * code + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, code)
        )
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.network[-1].bias)  # type: ignore[arg-type]

    def forward(self, z0: Tensor, z1: Tensor, times: Tensor) -> Tensor:
        """[P, d], [P, d], [P, T] -> [P, T, d]"""
        t = times[..., None]
        there, back = self._of(z0, z1, t), self._of(z1, z0, 1 - t)
        distance = (z1 - z0).norm(dim=1)[:, None, None]
        return t * (1 - t) * distance * 0.5 * (there + back)

    def _of(self, z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
        ends = torch.cat([z0, z1], dim=1)[:, None].expand(-1, t.shape[1], -1)
        bend: Tensor = self.network(torch.cat([ends, 2 * t - 1], dim=2))
        return bend


def straight(z0: Tensor, z1: Tensor, times: Tensor) -> Tensor:
    """(1 - t) z0 + t z1. [P, d], [P, d], [P, T] -> [P, T, d]"""
    return torch.lerp(z0[:, None], z1[:, None], times[..., None])


def speed_loss(speed: Tensor) -> Tensor:
    """The constant-speed loss: variance of |dx/dt| over t by the square of its mean. [P, T] -> mean over curves."""
    return (speed.var(dim=1) / speed.mean(dim=1).square().clamp(min=1e-12)).mean()


def length_loss(speed: Tensor) -> Tensor:
    """The minimising-geodesic loss: log L. [P, T], moments spread evenly over [0, 1] -> mean over curves.

    By the logarithm, a per cent of a short curve counts as much as a per cent of a long one.
    """
    return speed.mean(dim=1).clamp(min=1e-6).log().mean()


def geometric_prior(codes: Tensor, distances: Tensor) -> Tensor:
    """How far the distances of codes are from those along the manifold: the stress of multidimensional scaling.

    codes       [N, d]
    distances   [N, N]   along the manifold, at any scale; not finite where no chain of neighbours leads
    out         mean of (|zi - zj| - distance)^2 over all pairs, divided by the mean of distance^2
    """
    known = distances.isfinite() & ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    first, second = known.nonzero(as_tuple=True)
    wanted = distances[first, second]
    found = ((codes[first] - codes[second]).square().sum(1) + 1e-12).sqrt()
    return (found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)


def _connected(config: GeodesicConfig) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of fully connected layers. Activations are smooth, since the metric differentiates them."""
    numbers = math.prod(config.shape)
    hidden = [config.width] * config.depth

    def layers(widths: list[int]) -> list[nn.Module]:
        found: list[nn.Module] = []
        for before, after in pairwise(widths):
            found += [nn.Linear(before, after), nn.SiLU()]
        return found[:-1]

    encoder = nn.Sequential(nn.Flatten(), *layers([numbers, *hidden, config.code]))
    shaped: list[nn.Module] = [nn.Unflatten(1, config.shape)] + [nn.Sigmoid()] * (len(config.shape) == 3)
    return encoder, nn.Sequential(*layers([config.code, *hidden, numbers]), *shaped)


def _convolutional(config: GeodesicConfig) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of convolutions, which halve and double the sides; a linear layer gives the code."""
    channels, height, width = config.shape
    widths = [config.width * 2**level for level in range(config.halvings)]
    coarse = (widths[-1], height // 2**config.halvings, width // 2**config.halvings)
    encoder: list[nn.Module] = []
    for before, after in pairwise([channels, *widths]):
        encoder += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
    encoder += [nn.Flatten(), nn.Linear(math.prod(coarse), config.code)]
    decoder: list[nn.Module] = [nn.Linear(config.code, math.prod(coarse)), nn.Unflatten(1, coarse), nn.SiLU()]
    for before, after in pairwise([*reversed(widths), config.width]):
        # sub-pixel convolution: nothing is computed on enlarged maps that hold no more than small ones
        decoder += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2), nn.SiLU()]
    decoder += [nn.Conv2d(config.width, channels, 3, padding=1), nn.Sigmoid()]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)
