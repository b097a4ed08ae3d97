"""What recognisers are shown of a clip: which of its frames, and which part of them.

| views | frames | parts of them | scores |
|---|---|---|---|
| "center" | the middle of each segment of the model | the whole frame, as jobs show it | |
| "tsn-25x10" | the middle of each of 25 segments | corners and middle, each also mirrored | mean of the logits |
| "i3d-10x3" | 10 clips, evenly spread | left, middle and right (or top to bottom) | mean of the probabilities |

Source   Wang et al., "Temporal Segment Networks", ECCV 2016 (3.3 and 4.1); Wang et al., "Non-local Neural Networks",
         CVPR 2018 (section 4, inference). Crops of 224 pixels are taken from frames whose shorter side has 256.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from refilm.data.labelled_clips import See, TimedFrames
from refilm.models.contract import Sampling
from refilm.stages.snippets import SmallFrame, chosen, reduced, sample_times
from refilm.video import Frame

_ZERO = Fraction(0)
_LARGER = Fraction(256, 224)  # shorter side of the frames that crops are taken from, relative to the crops


@dataclass(frozen=True)
class View:
    """Some frames of a clip, and a part of them.

    places     indices of the frames
    corner     (y, x) of the part; None: the whole frame
    mirrored   whether left and right are exchanged
    """

    places: Sequence[int]
    corner: tuple[int, int] | None = None
    mirrored: bool = False

    def of(self, frames_u8: Tensor, height: int, width: int) -> Tensor:
        """[T, 3, h, w], uint8 -> [3, T', height, width], in [0, 1]"""
        seen = frames_u8[list(self.places)]
        if self.corner is not None:
            y, x = self.corner
            seen = seen[..., y : y + height, x : x + width]
        return (seen.flip(3) if self.mirrored else seen).transpose(0, 1).float() / 255


@dataclass(frozen=True)
class Views:
    """How a protocol shows clips to recognisers.

    words        for result files
    select       the places of the frames that a model is shown of a clip, for each of the clips that are taken of it
    corners      gives the corners of the parts, (y, x), from the sizes of frames and parts; None: whole frames
    mirrored     whether the parts are also shown mirrored
    joins        "logits" or "probabilities": what is averaged over the views
    """

    words: str
    select: Callable[[Sampling, TimedFrames], list[list[int]]]
    corners: Callable[[tuple[int, int], tuple[int, int]], list[tuple[int, int]]] | None = None
    mirrored: bool = False
    joins: str = "probabilities"

    def see(self, sampling: Sampling) -> See:
        """What is kept of a clip's frames."""
        if self.corners is None:
            return kept_for(sampling.height, sampling.width)
        return kept_around(sampling.height, sampling.width)

    def over(self, clip: TimedFrames, sampling: Sampling) -> Iterator[View]:
        height, width = clip.frames_u8.shape[2:]
        corners: Sequence[tuple[int, int] | None] = [None]
        if self.corners is not None:
            corners = self.corners((height, width), (sampling.height, sampling.width))
        for places in self.select(sampling, clip):
            for corner in corners:
                yield View(places, corner)
                if self.mirrored:
                    yield View(places, corner, mirrored=True)


def kept_for(height: int, width: int) -> See:
    """Whole frames in the size of a recogniser, as jobs reduce them."""

    def see(frame: Frame, rotation: int) -> Tensor:
        return codes(reduced(frame, height, width, rotation))

    return see


def kept_around(height: int, width: int) -> See:
    """Frames with their aspect, a little larger than a recogniser wants them, so that crops can be taken."""

    def see(frame: Frame, rotation: int) -> Tensor:
        tall, wide = frame.upright_size(rotation)
        ratio = _LARGER * max(Fraction(height, tall), Fraction(width, wide))
        return codes(reduced(frame, round(ratio * tall), round(ratio * wide), rotation))

    return see


def codes(frame: SmallFrame) -> Tensor:
    """A reduced frame as a tensor, uint8 RGB [3, H, W]."""
    green, blue, red = frame.planes
    return torch.from_numpy(np.stack([red, green, blue]))


def middle_places(sampling: Sampling, clip: TimedFrames) -> list[int]:
    """The frames in the middle of each segment, as jobs choose them."""
    return chosen(sampling, clip.times, _ZERO, clip.seconds)


def middle_view(clip: TimedFrames, sampling: Sampling) -> Tensor:
    """The whole frames in the middle of each segment. -> [3, T, H, W] in [0, 1]"""
    return View(middle_places(sampling, clip)).of(clip.frames_u8, sampling.height, sampling.width)


def drawn(
    sampling: Sampling, times: Sequence[Fraction], begin: Fraction, end: Fraction, shifts: Sequence[float | Fraction]
) -> list[int]:
    """The indices of the frames of a clip whose snippets do not lie in the middle of their segments.

    As `snippets.chosen`, except that a snippet which reaches beyond the film is moved inside, if it fits.

    shifts   for each segment, how far its snippet lies from the middle, as a share of the segment, in [-0.5, 0.5]
    """
    wanted = sample_times(sampling, begin, end)
    part, size = (end - begin) / sampling.segments, sampling.snippet
    places = []
    for number, shift in enumerate(shifts):
        snippet = [time + Fraction(shift) * part for time in wanted[number * size : (number + 1) * size]]
        inside = max(-snippet[0], _ZERO) or min(times[-1] - snippet[-1], _ZERO)
        places += [bisect_right(times, time + inside) - 1 for time in snippet]
    return [max(place, 0) for place in places]


def _in_segments(segments: int) -> Callable[[Sampling, TimedFrames], list[list[int]]]:
    """One clip of that many segments."""
    return lambda sampling, clip: [middle_places(replace(sampling, segments=segments), clip)]


def _spread(count: int) -> Callable[[Sampling, TimedFrames], list[list[int]]]:
    """Clips whose snippets lie at evenly spread places of the segments."""
    shifts = [Fraction(2 * number + 1, 2 * count) - Fraction(1, 2) for number in range(count)]

    def select(sampling: Sampling, clip: TimedFrames) -> list[list[int]]:
        return [drawn(sampling, clip.times, _ZERO, clip.seconds, [shift] * sampling.segments) for shift in shifts]

    return select


def _five(frame: tuple[int, int], part: tuple[int, int]) -> list[tuple[int, int]]:
    down, across = (have - want for have, want in zip(frame, part, strict=True))
    return [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]


def _three(frame: tuple[int, int], part: tuple[int, int]) -> list[tuple[int, int]]:
    down, across = (have - want for have, want in zip(frame, part, strict=True))
    if across >= down:
        return [(down // 2, x) for x in (0, across // 2, across)]
    return [(y, across // 2) for y in (0, down // 2, down)]


VIEWS = {
    "center": Views(
        "the middle of each of the model's segments, whole frames, as jobs show them",
        lambda sampling, clip: [middle_places(sampling, clip)],
    ),
    "tsn-25x10": Views(
        "25 segments, 10 crops (corners and middle, each also mirrored), mean of the logits",
        _in_segments(25),
        _five,
        mirrored=True,
        joins="logits",
    ),
    "i3d-10x3": Views(
        "10 clips, evenly spread, 3 crops along the longer side, mean of the probabilities", _spread(10), _three
    ),
}
