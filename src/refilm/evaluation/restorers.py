"""Methods of restoration to be measured: models, and the baselines that a user has without this project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from refilm.data.degradations import bicubic_up
from refilm.models.contract import Restorer as Model
from refilm.stages.running import ALL, Judge, Restoring
from refilm.video import Frame
from refilm.video.colour import Colour
from refilm.video.filters import filtered, is_in_pyav
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import from_rgb

# The format in which FFmpeg's filters get frames: as in a video file, but with chroma at full size, since results are
# compared in RGB.
YUV444P = PixelFormat("yuv444p", "yuv", 8)


class Restorer(Protocol):
    """A method of restoration.

    clip     [T, 3, h, w]   the degraded clip, RGB, nominal range [0, 1], not clamped
    places   indices of the frames wanted, rising
    out      these frames restored, [3, H, W] each
    """

    def __call__(self, clip: Tensor, places: Sequence[int]) -> Iterator[Tensor]: ...


def as_it_is(clip: Tensor, places: Sequence[int]) -> Iterator[Tensor]:
    """The frames of the input, unchanged."""
    yield from (clip[place] for place in places)


def bicubic(clip: Tensor, places: Sequence[int]) -> Iterator[Tensor]:
    """Bicubic enlargement to four times the size, as MATLAB's imresize does it."""
    yield from (bicubic_up(clip[place]) for place in places)


@dataclass(frozen=True)
class FFmpegFilter:
    """One of FFmpeg's filters, on yuv444p, BT.709, 8 bit.

    settings   alternative arguments in FFmpeg's syntax, from which a protocol chooses the best. A filter that is run
               must have exactly one, see `at`
    remembers  whether a result depends on earlier frames
    """

    name: str
    settings: tuple[str, ...]
    remembers: bool = False

    def at(self, setting: str) -> FFmpegFilter:
        """The same filter with this setting alone."""
        return replace(self, settings=(setting,))

    @property
    def is_timed(self) -> bool:
        """Whether its time can be measured.

        Not if PyAV's FFmpeg lacks the filter, so that the command `ffmpeg` runs it: the time would include starting a
        program, and all frames come at once.
        """
        return is_in_pyav(self.name)

    def __call__(self, clip: Tensor, places: Sequence[int]) -> Iterator[Tensor]:
        (setting,) = self.settings
        fed = range(places[-1] + 1) if self.remembers else places
        for place, frame in zip(fed, filtered(as_frames(clip, fed), self.name, setting), strict=True):
            if place in places:
                yield frame.rgb


def as_frames(clip: Tensor, places: Iterable[int]) -> Iterator[Frame]:
    """Frames as a video file would have them, in 8 bit, 25 a second. clip: [T, 3, h, w], of which `places` are taken"""
    for number, place in enumerate(places):
        planes = from_rgb(clip[place].clamp(0, 1), YUV444P, Colour())
        yield Frame(planes, YUV444P, Colour(), Fraction(number, 25), Fraction(1, 25))


DENOISERS: dict[str, Restorer] = {
    "input": as_it_is,
    "hqdn3d": FFmpegFilter(
        "hqdn3d",
        tuple(f"{s}:{s}:{t}:{t}" for s, t in ((16, 12), (24, 16), (32, 24), (40, 24), (40, 32), (48, 32))),
        remembers=True,
    ),
    "nlmeans": FFmpegFilter(
        "nlmeans",
        tuple(f"s={s}:p={p}:r={r}" for s in (5, 6, 7, 9, 10, 11, 13) for p, r in ((5, 7), (5, 9), (7, 9))),
    ),
}
DEBLOCKERS: dict[str, Restorer] = {
    "input": as_it_is,
    "deblock": FFmpegFilter(
        "deblock",
        tuple(
            f"filter={kind}:block={block}:alpha={alpha}:beta={alpha / 2}:gamma={alpha / 2}:delta={alpha / 2}"
            for kind in ("weak", "strong")
            for block in (4, 8)
            for alpha in (0.05, 0.1, 0.2)
        ),
    ),
}
ENLARGERS: dict[str, Restorer] = {
    "bicubic": bicubic,
    "lanczos": FFmpegFilter("scale", ("w=4*iw:h=4*ih:flags=lanczos",)),
}


@dataclass(frozen=True)
class ModelRestorer:
    """A model as a method: it runs by `Restoring`, as in a job.

    told      further arguments of the model's call, beside the clip
    filtered  whether the model's temporal filter is applied, if it has one
    judge     makes the judge that decides how strongly the model works; None: at full strength
    """

    model: Model
    device: torch.device | str
    told: dict[str, Any] = field(default_factory=dict)
    filtered: bool = True
    judge: Callable[[], Judge] | None = None

    def __call__(self, clip: Tensor, places: Sequence[int]) -> Iterator[Tensor]:
        treat = ALL if self.judge is None else self.judge()
        run: Restoring[int] = Restoring(self.model, self.told, self.device, filtered=self.filtered, treat=treat)
        for place, picture in run.over((place, partial(clip.__getitem__, place)) for place in range(len(clip))):
            if place in places:  # other frames are computed only if a temporal filter needs them
                yield picture()
