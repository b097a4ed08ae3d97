"""The stage that restores each frame, from the frame itself and its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.layers.optical_flow import RememberedFlows
from refilm.models.contract import Restorer
from refilm.stages.demand import Demand, measured
from refilm.stages.findings import Change
from refilm.stages.running import Later, Restoring
from refilm.stages.stage import StreamShape
from refilm.video import Frame


class Restore:
    """Restores each frame by a model that sees a window of frames.

    name      for the report: "denoise", "deblock" or "upscale"
    options   further arguments of the model's call, beside the clip
    tile      see `run_tiled`
    """

    keeps_rate = True

    def __init__(
        self,
        name: str,
        model: Restorer,
        options: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        tile: int | None = None,
    ) -> None:
        self._name, self._model, self._options, self._device = name, model, options or {}, device
        self._run: Restoring[Frame] = Restoring(model, options, device, tile, on_result=self._note)
        self.past, self.future = self._run.past, self._run.future
        self._change = Change()

    @property
    def findings(self) -> dict[str, Change]:
        return {self._name: self._change}

    def shape(self, source: StreamShape) -> StreamShape:
        scale = self._model.scale
        return replace(source, width=scale * source.width, height=scale * source.height)

    def demands(self, source: StreamShape) -> list[Demand]:
        model, pixels, scale = self._model, source.width * source.height, self._model.scale
        device = torch.device(self._device)
        model.reset()  # of what it has seen, in pictures of another size

        def clip(width: int, height: int) -> Tensor:
            return torch.rand(1, 3, model.window, height, width, device=device)

        @torch.inference_mode()
        def prepare(width: int, height: int) -> Tensor:
            return model.prepare(clip(width, height))

        @torch.inference_mode()
        def restore(width: int, height: int) -> Tensor:
            return model(clip(width, height), **self._options)

        size = (source.width, source.height, model.size_multiple, device)
        remembered = finished = 0.0
        if (temporal_filter := model.temporal_filter) is not None:

            @torch.inference_mode()
            def finish(width: int, height: int) -> Tensor:
                filtered: Tensor = temporal_filter(torch.rand(1, 3, 3, height, width, device=device))
                return filtered

            # three results as RGB, and the flows between them
            remembered = (3 * 12 + RememberedFlows.bytes_a_pixel) * scale**2
            finished = (36 + measured(finish, scale * source.width, scale * source.height, 1, device)) * scale**2
        return [
            Demand(
                name=self._name,
                # source frames, as decoded and as RGB in single precision
                held=(model.window * (3 + 12) + remembered) * pixels,
                around=max(12 * model.window + measured(prepare, *size), finished) * pixels,
                # the window in one tensor, again after `prepare`, and the result
                whole=(24 * model.window + 12 * scale**2) * pixels,
                per_pixel=measured(restore, *size),
                width=source.width,
                height=source.height,
                reach=model.reach,
                task=model.task,
            )
        ]

    def push(self, frame: Frame) -> Iterator[Frame]:
        return _shown(self._run.push(frame, lambda: frame.rgb, frame.starts_scene))

    def flush(self) -> Iterator[Frame]:
        return _shown(self._run.flush())

    def _note(self, before: Tensor, after: Tensor) -> None:
        self._change += Change(1, change(before, after))


def _shown(results: Iterable[tuple[Frame, Later[Tensor]]]) -> Iterator[Frame]:
    for frame, picture in results:
        yield replace(frame.with_rgb(picture()), origin="restored")


def change(picture: Tensor, restored: Tensor) -> float:
    """The mean absolute difference of a picture and its restored version, in 8-bit codes.

    picture    [N, 3, H, W]     RGB, nominal range [0, 1]
    restored   [N, 3, sH, sW]   reduced bicubically if it is larger
    """
    if restored.shape != picture.shape:
        restored = F.interpolate(restored, picture.shape[-2:], mode="bicubic", antialias=True)
    return 255 * float((restored.clamp(0, 1) - picture.clamp(0, 1)).abs().mean())
