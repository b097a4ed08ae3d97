"""How strongly films are restored: as much as the damage found in them asks for, so that clean film is left alone.

Damage is measured on each frame by itself. What is done to a frame follows from the median over the window that the
model is shown, so it does not depend on where a run began, and a single odd frame changes nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from torch import Tensor

from refilm.layers.damage import measure_noise
from refilm.models.coding_damage import coding_damage
from refilm.stages.findings import Judged
from refilm.stages.running import ALL, Treatment
from refilm.video import Frame

# Noise in 8-bit levels below which a film is left as it is, and from which the whole result is taken. Clean film was
# found to have up to 0.5.
_NO_NOISE, _NOISE = 0.5, 1.25
# A denoiser is told white noise on RGB as it is found, and so many times as much where R, G and B share their noise, as
# in films: these also have coarse noise on chroma, and the rest of what a codec took away (docs/choices.md#strength).
_TOLD_OF_SHARED = 1.5
# The least that a denoiser is told where it works because of compression.
_LEAST_TOLD = 4.0
# The strength that `coding_damage` estimates, below which a film is left as it is, and from which the whole result is
# taken. The estimate errs by some 0.18, and clean film was found to have up to 0.45.
_NO_DAMAGE, _DAMAGE = 0.25, 0.8


class Damage(NamedTuple):
    """What is found on a picture.

    noise    standard deviation of the noise in 8-bit levels, see `layers.damage.Noise`
    coding   damage by compression: the strength of restoration that it asks for, 0 ... 1; None if that is unknown
    shared   how far R, G and B have the same noise, 0 ... 1
    """

    noise: float
    coding: float | None
    shared: float = 1.0


def find_damage(picture: Tensor, before: Tensor | None = None) -> Damage:
    """The damage of a picture [3, H, W], RGB, nominal range [0, 1]; `before`: the one before it, of the same scene."""
    estimate = coding_damage(picture)
    coding = None if estimate is None else _ramp(estimate, _NO_DAMAGE, _DAMAGE)
    level, shared = measure_noise(picture, before)
    return Damage(level, coding, shared)


def noise_strength(noise: float) -> float:
    """The strength of restoration that a level of noise asks for, 0 ... 1."""
    return _ramp(noise, _NO_NOISE, _NOISE)


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, and in between in proportion."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


class DamageJudge:
    """A Judge that treats pictures by the damage found. `finding` sums up what it decided."""

    def __init__(self) -> None:
        self.finding = Judged()

    def measure(self, key: Frame, picture: Tensor, before: Tensor | None) -> Damage:
        return find_damage(picture, before)

    def treatment(self, found: Sequence[Damage]) -> Treatment:
        coding = [damage.coding for damage in found if damage.coding is not None]
        usual = Damage(
            median(damage.noise for damage in found),
            median(coding) if coding else None,
            median(damage.shared for damage in found),
        )
        treatment = ALL if usual.coding is None else self.chosen(usual, usual.coding)
        self.finding += Judged(1, treatment.strength, usual.noise, usual.coding or 0.0)
        return treatment

    @abstractmethod
    def chosen(self, usual: Damage, coding: float) -> Treatment: ...


class NoiseJudge(DamageJudge):
    """For denoisers, which are told the noise. They also work against compression, where that hides the noise."""

    def chosen(self, usual: Damage, coding: float) -> Treatment:
        told = usual.noise * (1 + (_TOLD_OF_SHARED - 1) * usual.shared)
        told = max(told, _LEAST_TOLD * coding, _NO_NOISE)
        return Treatment(max(noise_strength(usual.noise), coding), {"sigma_8bit": told})


class CodingJudge(DamageJudge):
    """For the removal of compression artifacts."""

    def chosen(self, usual: Damage, coding: float) -> Treatment:
        return Treatment(coding)
