"""How a model meets frames: windows, stand-in frames at cuts and ends, padding, tiles, the filter afterwards.

Jobs, evaluation, validation during training and `explain` all run models through the two classes here, `Restoring` and
`Interpolating`, so that a published figure is a figure of the path that users run. Both are streams: they are fed one
picture at a time and hold no more than a window.

Where a window would reach across a scene cut or an end of the stream, the nearest frame of the scene stands in.
Pictures are neither clamped nor rounded on the way: codes beyond black and white stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from refilm.models.contract import Interpolator, Restorer
from refilm.stages.tiles import run_tiled

K = TypeVar("K")
V = TypeVar("V")

# How much neighbouring steps in time may differ for a frame beyond a pair to tell of its motion: a clock that counts in
# milliseconds makes 60 frames a second come 16 and 17 apart.
_UNEVEN = 0.15


def stand_in(places: Iterable[int], first: int, last: int) -> list[int]:
    """The places of a window of which `first` to `last` may be used: the nearest of these stands in for the others."""
    return [min(max(place, first), last) for place in places]


class Later(Generic[V]):
    """A value that is made when it is first asked for, and kept; what it is made from is let go then."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make: Callable[[], V] | None = make
        self._value: V

    def __call__(self) -> V:
        if self._make is not None:
            self._value, self._make = self._make(), None
        return self._value


@dataclass(frozen=True)
class Shot(Generic[K]):
    """A picture of a stream: whose it is, whether a scene begins with it, and its pixels [3, H, W] once asked for."""

    key: K
    starts_scene: bool
    picture: Later[Tensor]


class Windows(Generic[K]):
    """The shots around each shot of a stream: 2 * radius + 1 of them, none of another scene."""

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self._held: list[Shot[K]] = []
        self._centre = 0  # the place in `_held` of the next shot to stand in the centre

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


class Restoring(Generic[K]):
    """A restorer over a stream of pictures. Holds at most its window of them, and three results if it filters.

    options    what the model's call takes beside the clip
    device     where the model runs; pictures come from the CPU, and results go there
    tile       see `run_tiled`
    filtered   whether the model's own temporal filter, if it has one, is applied
    on_result  is told of each frame that the model was shown and of what it made of it, [1, 3, H, W] and
               [1, 3, sH, sW], before the filter

    Results are computed when they are asked for, those of a recurrent model at once and in their order.
    """

    def __init__(
        self,
        model: Restorer,
        options: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        tile: int | None = None,
        filtered: bool = True,
        on_result: Callable[[Tensor, Tensor], None] = lambda before, after: None,
    ) -> None:
        self._model, self._options, self._device, self._tile = model, options or {}, device, tile
        self._on_result = on_result
        self._windows: Windows[K] = Windows(model.window // 2)
        self._filter = model.temporal_filter if filtered else None
        self._results: Windows[K] = Windows(0 if self._filter is None else 1)
        self.past = self.future = self._windows.radius + self._results.radius
        self._is_new = True

    def push(
        self, key: K, picture: Callable[[], Tensor], starts_scene: bool = False
    ) -> Iterator[tuple[K, Later[Tensor]]]:
        """The next picture, [3, H, W]. Gives back keys of earlier ones, each with its result [3, sH, sW]."""
        return self._restored(self._windows.push(Shot(key, starts_scene, Later(picture))))

    def over(self, pictures: Iterable[tuple[K, Callable[[], Tensor]]]) -> Iterator[tuple[K, Later[Tensor]]]:
        """The results of a whole stream, all of one scene."""
        for key, picture in pictures:
            yield from self.push(key, picture)
        yield from self.flush()

    def flush(self) -> Iterator[tuple[K, Later[Tensor]]]:
        """The results still owed at the end of the stream; this is then as new."""
        yield from self._restored(self._windows.flush())
        yield from map(self._finished, self._results.flush())
        self._is_new = True

    def _restored(self, windows: Iterable[list[Shot[K]]]) -> Iterator[tuple[K, Later[Tensor]]]:
        for window in windows:
            centre = window[self._windows.radius]
            result = Shot(centre.key, centre.starts_scene, Later(partial(self._restore, window)))
            if self._model.recurrent:
                if self._is_new or centre.starts_scene:
                    self._model.reset()
                result.picture()
            self._is_new = False
            yield from map(self._finished, self._results.push(result))

    def _finished(self, results: list[Shot[K]]) -> tuple[K, Later[Tensor]]:
        centre = results[self._results.radius]
        return centre.key, centre.picture if self._filter is None else Later(partial(self._filtered, results))

    @torch.inference_mode()
    def _restore(self, window: list[Shot[K]]) -> Tensor:
        """[3, sH, sW], from the window's pictures."""
        clip = torch.stack([shot.picture() for shot in window], dim=1)[None].to(self._device)  # [1, 3, T, H, W]
        result = self.restore(clip)
        self._on_result(clip[:, :, clip.shape[2] // 2], result)
        return result[0].cpu()

    def restore(self, clip: Tensor) -> Tensor:
        """One window [1, 3, T, H, W] -> its middle frame restored [1, 3, sH, sW], in tiles if so told, not filtered."""
        model = self._model
        return run_tiled(
            lambda part: model(part, **self._options),
            model.prepare(clip),
            reach=model.reach,
            multiple=model.size_multiple,
            scale=model.scale,
            tile=self._tile,
        )

    @torch.inference_mode()
    def _filtered(self, results: list[Shot[K]]) -> Tensor:
        assert self._filter is not None
        three = torch.stack([result.picture() for result in results], dim=1)[None]  # [1, 3, 3, sH, sW]
        filtered: Tensor = self._filter(three.to(self._device))[0].cpu()
        return filtered


class Moment(Protocol):
    """What `Interpolating` is fed, such as a Frame."""

    @property
    def time(self) -> Fraction: ...

    @property
    def starts_scene(self) -> bool: ...

    @property
    def rgb(self) -> Tensor:
        """[3, H, W], nominal range [0, 1]"""
        ...


M = TypeVar("M", bound=Moment)


@dataclass(frozen=True)
class Interval(Generic[M]):
    """From a frame to the next one, or to the end of the stream.

    clip      [3, window, H, W], what the model is shown: the two in the middle, and those beyond; not to be asked for
              at a cut or an end
    between   new pictures [3, H, W] at fractions of the interval, for each its own; likewise
    redrawn   the first frame as a model that redraws its inputs has it, where no new frames follow it, at a cut or
              an end; None for a scene of one frame
    """

    first: M
    second: M | None
    clip: Later[Tensor]
    between: Callable[[Sequence[Fraction]], list[Tensor]]
    redrawn: Callable[[], Tensor | None]

    @property
    def is_whole(self) -> bool:
        """Whether there may be new frames in it: neither the stream nor the scene ends with its first frame."""
        return self.second is not None and not self.second.starts_scene


class Interpolating(Generic[M]):
    """An interpolator over a stream of frames: the intervals between them, in order.

    A model that wants frames beyond the two is shown the nearer of the two again across a cut, an end, or a step in
    time of other length, which would tell it of another motion.
    """

    def __init__(self, model: Interpolator, device: torch.device | str = "cpu", tile: int | None = None) -> None:
        self._model, self._device, self._tile = model, device, tile
        self._beyond = model.window // 2 - 1
        self.past, self.future = self._beyond + model.redraws_inputs, 1 + self._beyond
        self._held: list[tuple[M, Later[Tensor]]] = []
        self._next = 0  # the place in `_held` of the frame that the next interval begins with
        self._is_new = True

    @property
    def latest(self) -> list[tuple[M, Later[Tensor]]]:
        """The latest frames and their pictures: all that a window needs, and at least three if there are so many."""
        return self._held

    def push(self, frame: M) -> Iterator[Interval[M]]:
        if self._next > max(self.past, 1):  # so many frames before an interval are needed
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
        """What is owed at the end of the stream, the last interval from the last frame on; this is then as new."""
        while self._next < len(self._held):
            yield self._interval()
        self._held, self._next, self._is_new = [], 0, True

    def _interval(self) -> Interval[M]:
        place, held = self._next, list(self._held)
        first, second = held[place][0], held[place + 1][0] if place + 1 < len(held) else None
        if self._model.recurrent and (self._is_new or first.starts_scene):
            self._model.reset()
        self._is_new = False
        clip = Later(partial(self._clip, held, place))
        interval = Interval(
            first, second, clip, lambda times: self.predict(clip(), times), partial(self._redrawn, held, place)
        )
        self._next += 1
        return interval

    def _clip(self, held: Sequence[tuple[M, Later[Tensor]]], place: int) -> Tensor:
        """What the model is shown for the interval from the frame held at `place` on. [3, window, H, W]"""
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
        return self.predict(self._clip(held, place - 1), [Fraction(1)])[0]

    @torch.inference_mode()
    def predict(self, clip: Tensor, times: Sequence[Fraction]) -> list[Tensor]:
        """[3, window, H, W] -> pictures [3, H, W] on the CPU, one for each of `times`, fractions of the interval."""
        result = run_tiled(
            lambda part: self._model.between(part, times),
            clip[None].to(self._device),
            reach=self._model.reach,
            multiple=self._model.size_multiple,
            tile=self._tile,
        )
        return list(result[0].cpu().unbind(dim=1))


def _goes_on(frames: Sequence[Moment], place: int, other: int) -> bool:
    """Whether the interval from frame `other` on is of the same scene and length as that from frame `place` on."""
    (before, after), (first, second) = (frames[p : p + 2] for p in (other, place))
    uneven = (after.time - before.time) / (second.time - first.time) - 1
    return not after.starts_scene and abs(uneven) <= _UNEVEN
