"""Evaluation of restoration: clips are degraded artificially, restored, and compared with the originals."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from refilm.data.degradations import bicubic_up
from refilm.data.layouts import Footage
from refilm.data.pack import read_footage
from refilm.errors import VideoError
from refilm.evaluation.flops import gflop
from refilm.evaluation.metrics import as_shown, luma, psnr_db, ssim, warp_errors
from refilm.evaluation.perceptual import Perceptual
from refilm.evaluation.pictures import Strip, write_strip
from refilm.evaluation.restorers import FFmpegFilter, ModelRestorer, Restorer
from refilm.evaluation.results import ClipFigures, mean
from refilm.evaluation.stopwatch import Stopwatch
from refilm.stages.running import Judge


@dataclass(frozen=True)
class Restoration:
    """A protocol: degrade each clip, restore its frames, and compare these with the original ones.

    spoil       the degradation: the clip as uint8 [T, 3, H, W], and a random generator seeded by the clip's name ->
                [T, 3, h, w], RGB, nominal range [0, 1]
    spoilt      the degradation in words, for the result files
    baselines   methods that a user has without this project, by name
    beside      name of the baseline that strips show
    told        further arguments of the model's call, beside the clip
    judge       makes the judge that decides how strongly a model works, as in a job without `--strength`; None: at full
                strength
    scale       H / h; H and W are cropped to multiples of it
    on_luma     whether PSNR and SSIM are of luma (`metrics.luma`) instead of RGB; the PSNR of RGB is then given as well
    border      pixels on each side that PSNR and SSIM leave out
    further     figures of PERCEPTUAL that are measured as well
    every       the first two of every so many frames are measured: two, for the warp error between neighbours

    The whole clip is kept in memory.
    """

    name: str
    task: str
    spoil: Callable[[Tensor, torch.Generator], Tensor]
    spoilt: str
    baselines: dict[str, Restorer]
    beside: str
    told: dict[str, Any] = field(default_factory=dict)
    judge: Callable[[], Judge] | None = None
    scale: int = 1
    on_luma: bool = False
    border: int = 0
    every: int = 2
    further: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        where = "Y of BT.601, limited range" if self.on_luma else "RGB"
        border = f"a border of {self.border} pixels left out" if self.border else "no border"
        frames = f"the first two frames of every {self.every}" if self.every > 2 else "every frame"
        return f"{self.spoilt}; {where}, 8 bit, {border}; {frames}; mean over a clip's frames, then over clips"

    def thinned(self, every: int) -> Restoration:
        """The same protocol on fewer frames, with `every` in its name. Raises ValueError if `every` is below 3."""
        if every < 3:
            raise ValueError(f"every must be at least 3, since two frames of so many are measured, got {every}")
        return replace(self, name=f"{self.name}-every{every}", every=every)

    def method(self, model: Any, device: torch.device) -> Restorer:
        """A model (`contract.Restorer`, already on the device) in the form that `measure` takes."""
        return ModelRestorer(model, device, self.told, judge=self.judge)

    def measure(
        self, restorer: Restorer, clip: Footage, stopwatch: Stopwatch, strip: Strip | None = None
    ) -> ClipFigures:
        """The figures of a clip. Raises VideoError if it is too small, or has less than two frames.

        The strip shows one frame: the input (enlarged), the result of `strip.beside`, the result, the original.
        """
        with Perceptual(self.further) as perceptual:
            figures = self._measured(restorer, clip, stopwatch, strip, perceptual)
            return replace(figures, **perceptual.means())

    def _measured(
        self, restorer: Restorer, clip: Footage, stopwatch: Stopwatch, strip: Strip | None, perceptual: Perceptual
    ) -> ClipFigures:
        truth_u8, spoilt = self._pair(clip)
        if len(truth_u8) < 2:
            raise VideoError(f"{clip.source}: {self.name} needs at least 2 frames")
        places = [place for place in range(len(spoilt)) if place % self.every < 2]
        shown = places[len(places) // 2]
        psnr, psnr_rgb, structure, errors = [], [], [], []
        before = None
        restored = restorer(spoilt, places)
        if getattr(restorer, "is_timed", True):
            restored = stopwatch.timed(restored)
        for place, result in zip(places, restored, strict=True):
            real = truth_u8[place].float() / 255
            perceptual.add(result, real)
            compared = self._compared(result), self._compared(real)
            psnr.append(psnr_db(*compared))
            structure.append(ssim(*compared))
            if self.on_luma:
                psnr_rgb.append(psnr_db(self._inner(result), self._inner(real)))
            if before is not None and before[0] == place - 1:
                errors.append(warp_errors(before[1], result, before[2], real))
            before = place, result, real
            if strip is not None and place == shown:
                beside = [] if strip.beside is None else strip.beside(spoilt, [place])
                write_strip(strip.path, [bicubic_up(spoilt[place], self.scale), *beside, result, real])
        warp, real_warp = map(mean, zip(*errors, strict=True))
        height, width = truth_u8.shape[-2:]
        figures = ClipFigures(len(psnr), width, height, mean(psnr), mean(structure), warp, real_warp)
        return replace(figures, psnr_rgb_db=mean(psnr_rgb)) if self.on_luma else figures

    def fitted(self, name: str, clips: Sequence[Footage]) -> tuple[Restorer, str | None]:
        """The baseline of that name, with the setting that has the best mean PSNR on the middle frames of the clips.

        -> (the method, its setting; None for a baseline without settings)
        """
        baseline = self.baselines[name]
        if not isinstance(baseline, FFmpegFilter):
            return baseline, None
        settings = baseline.settings
        psnr = torch.zeros(len(settings))
        if len(settings) > 1:
            for clip in clips:
                truth_u8, spoilt = self._pair(clip)
                middle = len(spoilt) // 2
                real = self._compared(truth_u8[middle].float() / 255)
                for number, setting in enumerate(settings):
                    (result,) = baseline.at(setting)(spoilt, [middle])
                    psnr[number] += psnr_db(self._compared(result), real)
        best = settings[int(psnr.argmax())]
        return baseline.at(best), best

    def shown_beside(self, setting: str | None) -> Restorer | None:
        """The baseline `beside` with a setting found by `fitted`; None if it needs one and `setting` is None."""
        baseline = self.baselines[self.beside]
        if isinstance(baseline, FFmpegFilter):
            return None if setting is None else baseline.at(setting)
        return baseline

    def gflop(self, restorer: Restorer, clip: Footage) -> float:
        """The operations for one frame of a clip that the model works on, see `flops.gflop`."""
        _, spoilt = self._pair(clip)
        if isinstance(restorer, ModelRestorer):
            restorer = replace(restorer, judge=None)  # which may leave the frame as it is
        return gflop(lambda: next(restorer(spoilt[:1], [0])))  # of more, a temporal filter restores the next too

    def _pair(self, clip: Footage) -> tuple[Tensor, Tensor]:
        """(the original clip as uint8 [T, 3, H, W], the degraded one [T, 3, h, w]). VideoError if it is too small."""
        return self.pair(read_footage(clip), clip.source)

    def pair(self, frames_u8: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """A clip [T, 3, H, W], uint8, cropped so that it can be reduced, and the degraded one [T, 3, h, w].

        What is random in the degradation is drawn by the clip's name. Raises VideoError if the clip is too small.
        """
        height, width = (side // self.scale * self.scale for side in frames_u8.shape[-2:])
        if min(height, width) < 2 * self.border + 11:
            raise VideoError(f"{name}: {self.name} needs at least {2 * self.border + 11} pixels a side")
        truth_u8 = frames_u8[..., :height, :width]
        return truth_u8, self.spoil(truth_u8, torch.Generator().manual_seed(zlib.crc32(name.encode())))

    def psnr_db(self, result: Tensor, truth: Tensor) -> float:
        """PSNR of one frame [3, H, W], as this protocol compares frames."""
        return psnr_db(self._compared(result), self._compared(truth))

    def _compared(self, frame: Tensor) -> Tensor:
        return luma(as_shown(self._inner(frame))) if self.on_luma else self._inner(frame)

    def _inner(self, frame: Tensor) -> Tensor:
        height, width = frame.shape[-2:]
        return frame[..., self.border : height - self.border, self.border : width - self.border]
