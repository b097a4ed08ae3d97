"""The stage that restores each frame, from the frame itself and its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.layers.temporal_filter import TemporalFilter, reduction
from refilm.models.contract import Restorer
from refilm.stages.damage import DamageJudge
from refilm.stages.demand import Demand
from refilm.stages.findings import JUDGED, Change, Finding
from refilm.stages.running import ALL, Judge, Kept, Later, Restoring, Treatment
from refilm.stages.stage import StreamShape
from refilm.stages.steps import filter_steps, memory_of, restorer_steps
from refilm.video import Frame


class Restore:
    """Restores each frame by a model that sees a window of frames.

    name      for the report: "denoise", "deblock" or "upscale"
    options   further arguments of the model's call, beside the clip
    tile      see `run_tiled`
    scale     as in `Restoring`
    treat     how the frames are treated: a Judge, or the same Treatment for all
    """

    keeps_rate = True

    def __init__(
        self,
        name: str,
        model: Restorer,
        options: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        tile: int | None = None,
        scale: int | None = None,
        treat: Judge | Treatment = ALL,
    ) -> None:
        self._name, self._model, self._options, self._device = name, model, options or {}, device
        self._scale, self._treat = scale or model.scale, treat
        self._run: Restoring[Frame] = Restoring(
            model, options, device, tile, on_result=self._note, scale=scale, treat=treat
        )
        self.past, self.future = self._run.past, self._run.future
        self.skip, self._count = 0, 0  # results so far
        self._change = Change()

    @property
    def findings(self) -> dict[str, Finding]:
        judged = {self._name + JUDGED: self._treat.finding} if isinstance(self._treat, DamageJudge) else {}
        return {self._name: self._change, **judged}

    def shape(self, source: StreamShape) -> StreamShape:
        return replace(source, width=self._scale * source.width, height=self._scale * source.height)

    def demands(self, source: StreamShape) -> list[Demand]:
        model, pixels, scale = self._model, source.width * source.height, self._scale
        size = (source.width, source.height, self._device)
        prepare, network = (
            memory_of(step, model, *size) for step in restorer_steps(model, self._options, self._device)
        )
        remembered = finished = 0.0
        if model.temporal_filter is not None:
            results, height, width = scale**2 * pixels, scale * source.height, scale * source.width
            remembered = 3 * 12 * results + model.temporal_filter.remembered(height, width)
            finished = self._filtering(model.temporal_filter, height, width)
        window, result = 12 * model.window * pixels, 12 * scale**2 * pixels
        padded = source.width % model.size_multiple or source.height % model.size_multiple
        return [
            Demand(
                name=self._name,
                # source frames, as decoded and as RGB in single precision
                held=model.window * (3 + 12) * pixels + remembered,
                around=max(window + prepare.at(pixels), finished),
                # the window in one tensor, again after `prepare`, and the result
                whole=(3 if padded else 2) * window + result,
                at_once=network,
                width=source.width,
                height=source.height,
                reach=model.reach,
                task=model.task,
            )
        ]

    def _filtering(self, temporal_filter: TemporalFilter, height: int, width: int) -> float:
        """Bytes that the filter of results of this size takes, besides the results."""
        steps = filter_steps(temporal_filter, self._device)
        before, band = (memory_of(step, temporal_filter, width, height, self._device) for step in steps)
        pixels = height * width
        searching = pixels + before.at(pixels / reduction(height, width) ** 2)  # with the luma at its full size
        return max(searching, 12 * pixels + band.at(min(temporal_filter.band_pixels(width), pixels)))

    def push(self, frame: Frame) -> Iterator[Frame]:
        return self._shown(self._run.push(frame, lambda: frame.rgb, frame.starts_scene))

    def flush(self) -> Iterator[Frame]:
        return self._shown(self._run.flush())

    def _shown(self, results: Iterable[tuple[Frame, Later[Tensor]]]) -> Iterator[Frame]:
        for frame, picture in results:
            self._count += 1
            if isinstance(picture, Kept):
                self._change += Change(1, 0.0)
            if self._count > self.skip:
                kept = isinstance(picture, Kept)
                yield frame if kept else replace(frame.with_rgb(picture()), origin="restored")

    def _note(self, before: Tensor, after: Tensor) -> None:
        self._change += Change(1, change(before, after))


def change(picture: Tensor, restored: Tensor) -> float:
    """The mean absolute difference of a picture and its restored version, in 8-bit codes.

    picture    [N, 3, H, W]     RGB, nominal range [0, 1]
    restored   [N, 3, sH, sW]   reduced bicubically if it is larger
    """
    if restored.shape != picture.shape:
        restored = F.interpolate(restored, picture.shape[-2:], mode="bicubic", antialias=True)
    return 255 * float((restored.clamp(0, 1) - picture.clamp(0, 1)).abs().mean())
