"""Running a model over a stream of frames: windows, scene cuts and ends, padding, tiles, and the temporal filter.

Jobs, evaluation, validation in trainings and `explain` all run models by the two classes `Restoring` and
`Interpolating`, so that measured figures apply to what users run. Both are fed one frame at a time, and keep only as
many as a window needs.

Where a window would reach across a scene cut or an end of the stream, the nearest frame of the scene is repeated.
Pictures are neither clamped nor rounded, so codes beyond black and white are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.layers.bands import BAND_PIXELS
from refilm.models.contract import Interpolator, Restorer, mixed
from refilm.stages.demand import give_back
from refilm.stages.tiles import run_tiled

K = TypeVar("K")
V = TypeVar("V")

# Largest relative difference in length between the interval of a pair and the one before or after it, with which the
# frame beyond the pair is still used. With a clock in milliseconds, intervals at 60 frames per second are 16 and 17 ms
# long.
_UNEVEN = 0.15


def stand_in(places: Iterable[int], first: int, last: int) -> list[int]:
    """The indices of a window, with those outside `first` ... `last` replaced by the nearest index inside."""
    return [min(max(place, first), last) for place in places]


class Later(Generic[V]):
    """A value that is computed on first use and then kept. What it was computed from is released then."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make: Callable[[], V] | None = make
        self._value: V

    def __call__(self) -> V:
        if self._make is not None:
            self._value, self._make = self._make(), None
        return self._value


@dataclass(frozen=True)
class Shot(Generic[K]):
    """A picture of a stream.

    key            identifies it for the caller, such as its Frame
    starts_scene   whether a scene begins with it
    picture        its pixels [3, H, W], computed on first use
    damage         what the judge measured on it, computed on first use; None without a judge
    """

    key: K
    starts_scene: bool
    picture: Later[Tensor]
    damage: Later[Any] | None = None


class Kept(Later[Tensor]):
    """A picture that is left as it came, since nothing is to be done to it."""


@dataclass(frozen=True)
class Treatment:
    """What is done to one picture.

    strength   share of the model's result, the rest is the picture itself; 0 ... 1. At 0 the model is not run
    options    further arguments of the model's call, in addition to those of the stream
    """

    strength: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


# The whole result of the model.
ALL = Treatment()


class Judge(Protocol):
    """Decides how each picture is treated, from what it measures on the pictures of its window."""

    def measure(self, key: Any, picture: Tensor, before: Tensor | None) -> Any:
        """Measure a picture [3, H, W]. Called once for each. `before`: the one before it, of the same scene."""
        ...

    def treatment(self, found: Sequence[Any]) -> Treatment:
        """The treatment of the picture in the middle of a window, from what was measured on the window's pictures."""
        ...


class Windows(Generic[K]):
    """The window around each shot of a stream: 2 * radius + 1 shots of its scene.

    Beyond the ends of the scene, its first or last shot is repeated.
    """

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._held: list[Shot[K]] = []
        self._centre = 0  # index in `_held` of the shot in the centre of the next window

    def push(self, shot: Shot[K]) -> Iterator[list[Shot[K]]]:
        self._held.append(shot)
        if len(self._held) - self._centre > self.radius:
            yield self._next()

    def flush(self) -> Iterator[list[Shot[K]]]:
        while self._centre < len(self._held):
            yield self._next()
        self._held, self._centre = [], 0

    def _next(self) -> list[Shot[K]]:
        centre, last = self._centre, len(self._held) - 1
        first_of_scene = max((p for p in range(centre + 1) if self._held[p].starts_scene), default=0)
        last_of_scene = min((p - 1 for p in range(centre + 1, last + 1) if self._held[p].starts_scene), default=last)
        places = range(centre - self.radius, centre + self.radius + 1)
        window = [self._held[place] for place in stand_in(places, first_of_scene, last_of_scene)]
        if centre == self.radius:
            del self._held[0]
        else:
            self._centre += 1
        return window


@dataclass(frozen=True)
class _Centre(Generic[K]):
    """The picture in the middle of a window, as the key of its result."""

    shot: Shot[K]
    treatment: Treatment


class Restoring(Generic[K]):
    """Runs a restorer over a stream of pictures. Keeps at most a window of pictures, and three results for the filter.

    options    further arguments of the model's call, beside the clip
    device     where the model runs; pictures and results are on the CPU
    tile       see `run_tiled`
    filtered   whether the model's temporal filter is applied, if it has one
    on_result  called with each picture and its restored version, [1, 3, H, W] and [1, 3, sH, sW]; not for those kept
    scale      output pixels per input pixel along each side, at most the model's, whose results are reduced to this
               size bicubically; None: the model's
    treat      how pictures are treated: a Judge, or the same Treatment for all

    Results are computed on first use, except those of a recurrent model, which are computed at once and in order. A
    picture that is kept as it is (strength 0) has a `Kept` as its result.
    """

    def __init__(
        self,
        model: Restorer,
        options: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        tile: int | None = None,
        filtered: bool = True,
        on_result: Callable[[Tensor, Tensor], None] = lambda before, after: None,
        scale: int | None = None,
        treat: Judge | Treatment = ALL,
    ) -> None:
        self._model, self._options, self._device, self._tile = model, options or {}, device, tile
        self._on_result, self._treat = on_result, treat
        self._scale = scale or model.scale
        self._windows: Windows[K] = Windows(model.window // 2)
        self._filter = model.temporal_filter if filtered else None
        self._results: Windows[_Centre[K]] = Windows(0 if self._filter is None else 1)
        self.past = self.future = self._windows.radius + self._results.radius
        self._is_new = True
        self._before: Shot[K] | None = None

    def push(
        self, key: K, picture: Callable[[], Tensor], starts_scene: bool = False
    ) -> Iterator[tuple[K, Later[Tensor]]]:
        """Takes the next picture [3, H, W], and yields (key, result [3, sH, sW]) of an earlier one once it can."""
        shot = Shot(key, starts_scene, pixels := Later(picture))
        if not isinstance(self._treat, Treatment):
            before = None if starts_scene or self._before is None else self._before.picture
            measure = partial(self._treat.measure, key)
            shot = replace(shot, damage=Later(lambda: measure(pixels(), None if before is None else before())))
            self._before = shot
        return self._restored(self._windows.push(shot))

    def over(self, pictures: Iterable[tuple[K, Callable[[], Tensor]]]) -> Iterator[tuple[K, Later[Tensor]]]:
        """The results of a whole stream that is a single scene."""
        for key, picture in pictures:
            yield from self.push(key, picture)
        yield from self.flush()

    def flush(self) -> Iterator[tuple[K, Later[Tensor]]]:
        """The remaining results at the end of the stream. Afterwards, a new stream can begin."""
        yield from self._restored(self._windows.flush())
        yield from map(self._finished, self._results.flush())
        self._is_new, self._before = True, None

    def _restored(self, windows: Iterable[list[Shot[K]]]) -> Iterator[tuple[K, Later[Tensor]]]:
        for window in windows:
            centre, treatment = window[self._windows.radius], self._treatment(window)
            made = Later(partial(self._restore, window, treatment.options))
            result = Shot(_Centre(centre, treatment), centre.starts_scene, made)
            if self._model.recurrent:
                if self._is_new or centre.starts_scene:
                    self._model.reset()
                result.picture()
            self._is_new = False
            yield from map(self._finished, self._results.push(result))

    def _treatment(self, window: list[Shot[K]]) -> Treatment:
        if isinstance(self._treat, Treatment):
            return self._treat
        return self._treat.treatment([shot.damage() for shot in window if shot.damage is not None])

    def _finished(self, results: list[Shot[_Centre[K]]]) -> tuple[K, Later[Tensor]]:
        centre = results[self._results.radius]
        shot, treatment = centre.key.shot, centre.key.treatment
        if treatment.strength == 0:
            return shot.key, Kept(shot.picture)
        made = centre.picture if self._filter is None else Later(partial(self._filtered, results))
        return shot.key, Later(partial(self._blended, shot, made, treatment.strength))

    def _blended(self, shot: Shot[K], made: Later[Tensor], strength: float) -> Tensor:
        picture, result = shot.picture(), made()
        if strength < 1:
            result = torch.lerp(picture, result, strength)
        self._on_result(picture[None], result[None])
        return result

    @torch.inference_mode()
    def _restore(self, window: list[Shot[K]], further: Mapping[str, Any]) -> Tensor:
        """The result for the centre of a window, [3, sH, sW], on the CPU."""
        clip = torch.stack([shot.picture() for shot in window], dim=1)[None].to(self._device)  # [1, 3, T, H, W]
        model, options = self._model, {**self._options, **further}
        result = run_tiled(
            partial(self._enlarged, options),
            model.prepare(clip),
            # the filter that reduces a result sees less than two pixels of the source beyond its own
            reach=model.reach if model.reach is None or self._scale == model.scale else model.reach + 2,
            multiple=model.size_multiple,
            scale=self._scale,
            tile=self._tile,
        )
        return result[0].cpu()

    def _enlarged(self, options: Mapping[str, Any], part: Tensor) -> Tensor:
        """The network's result for a prepared window or a part of it, reduced to the wanted size."""
        with mixed(self._model, self._device):
            result: Tensor = self._model.network(part, **options).to(part.dtype)
        if self._scale == self._model.scale:
            return result
        size = [self._scale * side for side in part.shape[-2:]]
        return F.interpolate(result, size, mode="bicubic", antialias=True)

    @torch.inference_mode()
    def _filtered(self, results: list[Shot[_Centre[K]]]) -> Tensor:
        assert self._filter is not None
        filtered: Tensor = self._filter(*(result.picture()[None].to(self._device) for result in results))
        return filtered[0].cpu()


class Moment(Protocol):
    """An input frame of `Interpolating`, such as a Frame."""

    @property
    def time(self) -> Fraction: ...

    @property
    def starts_scene(self) -> bool: ...

    @property
    def rgb(self) -> Tensor:
        """[3, H, W], nominal range [0, 1]"""
        ...


@dataclass(frozen=True)
class Still:
    """A picture as a Moment."""

    rgb: Tensor
    time: Fraction
    starts_scene: bool = False


M = TypeVar("M", bound=Moment)


@dataclass(frozen=True)
class Interval(Generic[M]):
    """The interval from a frame to the next one, or to the end of the stream.

    first, second   the frames at its ends; `second` is None at the end of the stream
    clip            the model's input [3, window, H, W]; only if `is_whole`
    between         makes the new frames [3, H, W] at given fractions of the interval; only if `is_whole`
    redrawn         makes the first frame's version by a model that redraws its inputs, for intervals that are not
                    whole; None for a scene of one frame
    """

    first: M
    second: M | None
    clip: Later[Tensor]
    between: Callable[[Sequence[Fraction]], list[Tensor]]
    redrawn: Callable[[], Tensor | None]

    @property
    def is_whole(self) -> bool:
        """Whether both frames are of the same scene, so that frames between them can be interpolated."""
        return self.second is not None and not self.second.starts_scene


class Interpolating(Generic[M]):
    """Runs an interpolator over a stream of frames, and yields the intervals between them in order.

    The window of a model may have frames before and after the pair. They are replaced by the nearest usable frame
    across a scene cut, at an end, and where the interval between frames differs in length from the pair's, because the
    motion in these could not be compared.

    device   where the model runs; frames and results are on the CPU
    tile     see `run_tiled`
    """

    def __init__(self, model: Interpolator, device: torch.device | str = "cpu", tile: int | None = None) -> None:
        self._model, self._device, self._tile = model, device, tile
        self._beyond = model.window // 2 - 1
        self.past, self.future = self._beyond + model.redraws_inputs, 1 + self._beyond
        self._held: list[tuple[M, Later[Tensor]]] = []
        self._next = 0  # index in `_held` of the first frame of the next interval
        self._is_new = True
        # of a recurrent model: the latest interval as long as it was not shown, and the last frame of a scene, redrawn
        self._unseen: Callable[[Sequence[Fraction]], list[Tensor]] | None = None
        self._ending: Tensor | None = None

    @property
    def latest(self) -> list[tuple[M, Later[Tensor]]]:
        """The latest frames and their pictures: all that are kept, at least three if there have been so many."""
        return self._held

    def push(self, frame: M) -> Iterator[Interval[M]]:
        if self._next > max(self.past, 1):  # the number of frames that are needed before an interval
            del self._held[0]
            self._next -= 1
        self._held.append((frame, Later(lambda: frame.rgb)))
        if len(self._held) - self._next > 1 + self._beyond:
            yield self._interval()

    def over(self, frames: Iterable[M]) -> Iterator[Interval[M]]:
        """The intervals of a whole stream."""
        for frame in frames:
            yield from self.push(frame)
        yield from self.flush()

    def flush(self) -> Iterator[Interval[M]]:
        """The remaining intervals, the last of which begins with the last frame. Afterwards, a new stream can begin."""
        while self._next < len(self._held):
            yield self._interval()
        self._held, self._next, self._is_new, self._unseen = [], 0, True, None

    def _interval(self) -> Interval[M]:
        if self._unseen is not None:
            self._unseen(())
        place, held = self._next, list(self._held)
        first, second = held[place][0], held[place + 1][0] if place + 1 < len(held) else None
        if self._model.recurrent and (self._is_new or first.starts_scene):
            self._model.reset()
        self._is_new = False
        clip = Later(partial(self._clip, held, place))
        goes_on = place + 2 < len(held) and not held[place + 2][0].starts_scene
        between = partial(self._in_turn, clip, goes_on) if self._model.recurrent else partial(self._made, clip)
        interval = Interval(first, second, clip, between, partial(self._redrawn, held, place))
        self._unseen = between if self._model.recurrent and interval.is_whole else None
        self._next += 1
        return interval

    def _made(self, clip: Callable[[], Tensor], times: Sequence[Fraction]) -> list[Tensor]:
        return self.predict(clip(), times)

    def _in_turn(self, clip: Callable[[], Tensor], goes_on: bool, times: Sequence[Fraction]) -> list[Tensor]:
        """`predict` for a recurrent model, which is shown each interval once.

        goes_on   whether the scene is known to go on after the interval. If not, the frame at its end is redrawn as
                  well, since the state for it will be gone when it is asked for
        """
        self._unseen = None
        further = [Fraction(1)] if self._model.redraws_inputs and not goes_on else []
        pictures = self.predict(clip(), [*times, *further])
        self._ending = pictures.pop() if further else None
        return pictures

    def _clip(self, held: Sequence[tuple[M, Later[Tensor]]], place: int) -> Tensor:
        """The model's input for the interval that begins with frame `place` of `held`. -> [3, window, H, W]"""
        frames = [frame for frame, _ in held]
        first, last = place, place + 1
        while first > place - self._beyond and first > 0 and _goes_on(frames, place, first - 1):
            first -= 1
        while last < place + 1 + self._beyond and last + 1 < len(held) and _goes_on(frames, place, last):
            last += 1
        places = range(place - self._beyond, place + 2 + self._beyond)
        return torch.stack([held[p][1]() for p in stand_in(places, first, last)], dim=1)

    def _redrawn(self, held: Sequence[tuple[M, Later[Tensor]]], place: int) -> Tensor | None:
        if place == 0 or held[place][0].starts_scene:
            return None
        if self._model.recurrent:
            return self._ending
        return self.predict(self._clip(held, place - 1), [Fraction(1)])[0]

    @torch.inference_mode()
    def predict(self, clip: Tensor, times: Sequence[Fraction]) -> list[Tensor]:
        """The frames at `times`, fractions of the interval. [3, window, H, W] -> [3, H, W] each, on the CPU."""
        result = run_tiled(
            partial(self._between, times),
            clip[None].to(self._device),
            reach=self._model.reach,
            multiple=self._model.size_multiple,
            tile=self._tile,
        )
        return list(result[0].cpu().unbind(dim=1))

    def _between(self, times: Sequence[Fraction], clip: Tensor) -> Tensor:
        with mixed(self._model, self._device):
            return self._in_bands(times, clip).to(clip.dtype)

    def _in_bands(self, times: Sequence[Fraction], clip: Tensor) -> Tensor:
        if self._model.band_pixels(clip.shape[-1]) is None:
            return self._model.between(clip, times)
        seen = self._model.before_bands(clip)
        if clip.shape[-1] * clip.shape[-2] > BAND_PIXELS:  # of a smaller picture, it is not worth the time
            give_back()
        return self._model.in_bands(clip, seen, times)


def _goes_on(frames: Sequence[Moment], place: int, other: int) -> bool:
    """Whether the interval from frame `other` on has no scene cut and about the same length as that from `place` on."""
    (before, after), (first, second) = (frames[p : p + 2] for p in (other, place))
    uneven = (after.time - before.time) / (second.time - first.time) - 1
    return not after.starts_scene and abs(uneven) <= _UNEVEN
