"""The spaces of `refilm morph`: which of them knows some pictures, and moments at equal lengths of a way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.errors import RefilmError, UsageError
from refilm.models.table import PARTS, create_model, row_of
from refilm.weights import SHIPPED, load_weights, name_by_content

# A picture is known to a space if what this makes of it is no more than so many times as far off as what it made of the
# worst picture of its validation.
_TOLERANCE = 1.5
_WAY_OUT = (
    "between pictures it has not learned, a space knows no way. --learn-from FOLDER or FILM learns one from pictures "
    "like these; --by motion moves one picture into the other along what looks alike in both"
)


class Known(NamedTuple):
    """A space that knows some pictures.

    space      a `refilm.models.contract.Space`, which is an nn.Module
    name       of its row in the table of models
    weights    name of its weight file
    off        how far off it is on the worst of the pictures, relative to the worst of its validation
    """

    space: Any
    name: str
    weights: str
    off: float


def find_space(pictures: Sequence[Tensor], weights: str | Path | None) -> Known:
    """The space of a weight file; without one, of those that ship the one that knows the pictures best.

    Raises RefilmError if it does not know them, WeightsError as `create_model`, UsageError if the weights are of
    something else.
    """
    if weights is not None:
        found = _tried(pictures, weights)
        if found.off > _TOLERANCE:
            raise RefilmError(
                f"the space of {found.weights} does not know these pictures: what it makes of them is {found.off:.1f} "
                f"times as far off as of the worst it was measured on; {_WAY_OUT}"
            )
        return found
    shipped = [row.weights for row in PARTS.values() if row.task == "morphing" and row.weights]
    tried = [_tried(pictures, SHIPPED / name) for name in shipped if _is_of_pictures(SHIPPED / name)]
    known = [found for found in tried if found.off <= _TOLERANCE]
    if not known:
        names = ", ".join(found.name for found in tried) or "none"
        raise RefilmError(f"no space that ships ({names}) knows these pictures; {_WAY_OUT}")
    return min(known, key=lambda found: found.off)


def _is_of_pictures(weights: Path) -> bool:
    return len(load_weights(weights).config["shape"]) == 3


def _tried(pictures: Sequence[Tensor], weights: str | Path) -> Known:
    loaded = load_weights(weights)
    if row_of(loaded.model).task != "morphing" or len(loaded.config["shape"]) != 3:
        raise UsageError(f"{weights}: holds {loaded.model}, which is no space of pictures")
    space: Any = create_model(loaded.model, weights=weights)
    with torch.inference_mode():
        samples = as_samples(pictures, space.shape)
        errors = (space(samples) - samples).square().flatten(1).mean(1).sqrt()
    worst = max(loaded.metrics.get("rmse", [0.05]))
    return Known(space, loaded.model, name_by_content(weights), float(errors.max()) / worst)


def as_samples(pictures: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Pictures [3, H, W] as samples of a space, [N, *shape]: reduced in size, and without colour if it has none."""
    small = F.interpolate(torch.stack(tuple(pictures)), shape[1:], mode="bilinear", antialias=True).clamp(0, 1)
    return small if shape[0] == 3 else small.mean(dim=1, keepdim=True)


def evenly(speed: Tensor, times: Tensor, count: int) -> Tensor:
    """`count` moments between which a curve covers equal lengths, its ends included.

    speed, times   [T]   |dx/dt| at rising moments, the first and the last those of the ends
    out            [count]
    """
    steps = 0.5 * (speed[1:] + speed[:-1]) * times.diff()
    length = torch.cat([speed.new_zeros(1), steps.cumsum(0)])
    if not length[-1] > 0:
        return torch.linspace(float(times[0]), float(times[-1]), count)
    wanted = torch.linspace(0, 1, count) * length[-1]
    after = torch.searchsorted(length, wanted).clamp(1, len(length) - 1)
    share = (wanted - length[after - 1]) / (length[after] - length[after - 1]).clamp(min=1e-12)
    return torch.lerp(times[after - 1], times[after], share.clamp(0, 1))
