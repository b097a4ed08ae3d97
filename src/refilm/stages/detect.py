"""The stage that finds the objects in each frame of a film."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from refilm.models.contract import Detector, Found
from refilm.stages.demand import Demand, measured
from refilm.stages.detections import BOX_DIGITS, SCORE_DIGITS, Box, Unlinked
from refilm.stages.findings import Finding
from refilm.stages.running import Later, Shot, Windows
from refilm.stages.snippets import SmallFrame, clip_of, reduced
from refilm.stages.stage import StreamShape
from refilm.video import Frame


@dataclass(frozen=True)
class _Looked:
    """A frame, as it is shown to the detector, and what the part of it makes of it that sees single frames."""

    frame: SmallFrame
    features: Later[Any]


class Detect:
    """Finds the objects of each frame: one `Unlinked` for each, at its time.

    Frames are reduced to the detector's `side` and turned upright; boxes are in pixels of the frames as they are
    stored. What the detector makes of a single frame is computed once, and kept for all windows that the frame is in.

    least   score of an object that is told
    """

    keeps_rate = False
    findings: dict[str, Finding] = {}  # noqa: RUF012  # nothing to note

    def __init__(
        self, model: Detector, source: StreamShape, device: torch.device | str = "cpu", least: float = 0.3
    ) -> None:
        self._model, self._device, self._least = model, device, least
        self._turns = round(source.rotation / 90) % 4
        self._stored = source.width, source.height
        upright = self._stored[:: -1 if self._turns % 2 else 1]
        ratio = min(model.side / min(upright), 1.0)
        self._size = max(round(upright[0] * ratio), 1), max(round(upright[1] * ratio), 1)  # width, height
        self._rotation = source.rotation
        self._windows: Windows[_Looked] = Windows(model.window // 2)
        self.past = self.future = model.window // 2
        self.skip, self._count = 0, 0

    def shape(self, source: StreamShape) -> StreamShape:
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        width, height = self._size
        with torch.inference_mode():
            (one,) = self._random_picture(64, 64)
            features = sum(part.nbytes for part in _tensors(self._model.see(one))) / 64**2
        held = self._model.window * (3 + features) * width * height
        taken = measured(self._random_picture, self._at_once, [self._size], torch.device(self._device))
        return [Demand("detect", held, at_once=taken, width=width, height=height)]

    def seconds_a_frame(self, source: StreamShape) -> float:
        picture = self._random_picture(*self._size)
        self._at_once(*picture)  # the first run is slower
        began = time.perf_counter()
        self._at_once(*picture)
        return time.perf_counter() - began

    def push(self, frame: Frame) -> Iterator[Unlinked]:
        width, height = self._size
        small = reduced(frame, height, width, self._rotation)
        picture = Later(partial(self._picture, small))
        shot = Shot(_Looked(small, Later(partial(self._see, picture))), frame.starts_scene, picture)
        return self._found(self._windows.push(shot))

    def flush(self) -> Iterator[Unlinked]:
        yield from self._found(self._windows.flush())
        self._count = 0

    def _found(self, windows: Iterator[list[Shot[_Looked]]]) -> Iterator[Unlinked]:
        for window in windows:
            self._count += 1
            if self._count > self.skip:
                yield self._seen(window)

    @torch.inference_mode()
    def _seen(self, window: list[Shot[_Looked]]) -> Unlinked:
        centre = window[self._windows.radius].key.frame
        shots = [window[place] for place in self._model.places()]
        found = self._model.found_in(
            [shot.key.features() for shot in shots], [shot.picture() for shot in shots], self._least
        )
        boxes = self._of_source(found.boxes.cpu())
        named = zip(boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
        return Unlinked(centre.time, centre.starts_scene, tuple(self._told(*each) for each in named))

    def _told(self, box: list[float], label: int, score: float) -> Box:
        left, top, right, bottom = (round(side, BOX_DIGITS) for side in box)
        return Box((left, top, right, bottom), self._model.labels[label], round(score, SCORE_DIGITS), 0)

    def _of_source(self, boxes: Tensor) -> Tensor:
        """Boxes in the pictures that the detector sees, [K, 4], as boxes in the frames as they are stored."""
        width, height = self._size
        for _ in range(self._turns):
            # a quarter turn back, clockwise
            x0, y0, x1, y1 = boxes.unbind(1)
            boxes = torch.stack([height - y1, x0, height - y0, x1], dim=1)
            width, height = height, width
        scale = boxes.new_tensor([self._stored[0] / width, self._stored[1] / height])
        return boxes * scale.repeat(2)

    def _picture(self, small: SmallFrame) -> Tensor:
        """[1, 3, h, w], in [0, 1], on the device"""
        return clip_of([small])[:, 0][None].to(self._device)

    @torch.inference_mode()
    def _see(self, picture: Later[Tensor]) -> Any:
        return self._model.see(picture())

    @torch.inference_mode()
    def _at_once(self, picture: Tensor) -> Found:
        """All that is done for a frame, in the worst case: its neighbours are as new as it is."""
        seen = self._model.see(picture)
        count = len(self._model.places())
        return self._model.found_in([seen] * count, [picture] * count, self._least)

    def _random_picture(self, width: int, height: int) -> tuple[Tensor]:
        return (torch.rand(1, 3, height, width, device=self._device),)


def _tensors(seen: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples."""
    if isinstance(seen, Tensor):
        yield seen
    elif isinstance(seen, tuple):
        for part in seen:
            yield from _tensors(part)
