"""The frames of a film made better, one by one, each from itself and its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.layers.optical_flow import RememberedFlows
from refilm.stages.demand import Demand, measured
from refilm.stages.running import run_tiled
from refilm.stages.stage import StreamShape, TemporalWindow


class Restorer(Protocol):
    """What the stage asks of a model; see refilm.models. A denoiser's call also takes `sigma_8bit`."""

    window: int  # frames, an odd number
    scale: int
    reach: int
    size_multiple: int
    temporal_filter: Callable[[Tensor], Tensor] | None  # of three results, [N, 3, 3, H, W], or nothing

    def prepare(self, clip: Tensor) -> Tensor:
        """[N, 3, T, H, W] -> the same, the neighbours brought into place: the part that needs the whole picture."""
        ...

    def __call__(self, clip: Tensor, **options: Any) -> Tensor:
        """[N, 3, T, H, W] -> [N, 3, sH, sW], the centre frame restored, not clamped; may be called by tiles."""
        ...


class Restore(TemporalWindow):
    """Each frame through a model that restores it from a window of frames.

    name      of what is done, for the report: "denoise", "deblock", "upscale"
    options   what the model's call takes beside the clip
    """

    def __init__(
        self,
        name: str,
        model: Restorer,
        options: dict[str, Any] | None = None,
        device: torch.device | str = "cpu",
        tile: int | None = None,
    ) -> None:
        finish = None if model.temporal_filter is None else self._filtered
        super().__init__(self._restored, model.window // 2, model.scale, finish)
        self._name, self._model, self._options = name, model, options or {}
        self._device, self._tile = device, tile
        self._frames, self._change = 0, 0.0

    @property
    def findings(self) -> dict[str, float]:
        return {f"{self._name} frames": float(self._frames), f"{self._name} change": self._change}

    def demands(self, source: StreamShape) -> list[Demand]:
        model, pixels, scale = self._model, source.width * source.height, self._model.scale
        (window,) = super().demands(source)

        @torch.inference_mode()
        def prepare(width: int, height: int) -> Tensor:
            return model.prepare(torch.rand(1, 3, model.window, height, width, device=self._device))

        @torch.inference_mode()
        def restore(width: int, height: int) -> Tensor:
            return model(torch.rand(1, 3, model.window, height, width, device=self._device), **self._options)

        @torch.inference_mode()
        def finish(width: int, height: int) -> Tensor:
            return self._filtered(torch.rand(1, 3, 3, height, width))

        size = (source.width, source.height, model.size_multiple, torch.device(self._device))
        remembered = finished = 0.0
        if model.temporal_filter is not None:
            remembered = RememberedFlows.bytes_a_pixel * scale**2
            finished = (36 + measured(finish, scale * source.width, scale * source.height, 1, size[3])) * scale**2
        # the window in one tensor, once more when prepared, and the result
        whole = 24 * model.window + 12 * scale**2
        return [
            replace(
                window,
                name=self._name,
                held=window.held + remembered * pixels,
                around=max(12 * model.window + measured(prepare, *size), finished) * pixels,
                whole=whole * pixels,
                per_pixel=measured(restore, *size),
                width=source.width,
                height=source.height,
                reach=model.reach,
            )
        ]

    @torch.inference_mode()
    def _restored(self, clip: Tensor) -> Tensor:
        """[1, 3, T, H, W] -> [1, 3, sH, sW]"""
        model, clip = self._model, clip.to(self._device)
        restored = run_tiled(
            lambda part: model(part, **self._options),
            model.prepare(clip),
            reach=model.reach,
            multiple=model.size_multiple,
            scale=model.scale,
            tile=self._tile,
        )
        self._frames += 1
        self._change += change(clip[:, :, model.window // 2], restored)
        return restored.cpu()

    @torch.inference_mode()
    def _filtered(self, results: Tensor) -> Tensor:
        """[1, 3, 3, sH, sW] -> [1, 3, sH, sW]"""
        assert self._model.temporal_filter is not None
        return self._model.temporal_filter(results.to(self._device)).cpu()


def change(picture: Tensor, restored: Tensor) -> float:
    """The mean absolute difference of the two in codes of 8 bit, after `restored` is reduced to the picture's size."""
    if restored.shape != picture.shape:
        restored = F.interpolate(restored, picture.shape[-2:], mode="bicubic", antialias=True)
    return 255 * float((restored.clamp(0, 1) - picture.clamp(0, 1)).abs().mean())
