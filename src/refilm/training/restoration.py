"""The tasks that restore a frame from its neighbours: denoising, artifact removal, super-resolution."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from refilm.data import Pack, WindowSampler
from refilm.data.camera_paths import read_scenes
from refilm.data.degradations import (
    bicubic_down,
    bicubic_up,
    compress,
    film_noise,
    gaussian_down,
    gaussian_noise,
    real_small,
)
from refilm.data.draws import generator
from refilm.data.pack import spread
from refilm.data.panned import divided_photographs, panned
from refilm.errors import RefilmError
from refilm.evaluation.metrics import as_shown, psnr_db
from refilm.evaluation.restorers import ModelRestorer
from refilm.layers.optical_flow import DIS, luma
from refilm.training.config import RestorationConfig
from refilm.training.losses import dissimilarity
from refilm.training.problem import Problem
from refilm.training.super_resolution_losses import (
    FeatureDistance,
    RelativisticJudge,
    motion_weights,
    siamese_terms,
    weighted_squared_error,
)

# Down to full size: by it, the next frame warps to within 0.009 of the first, by DIS at half the size to within 0.010
# (docs/choices.md#recognisable).
MOTION = DIS(refinement=1, finest_scale=0)
VIEW = (256, 320)  # height and width of clips of photographs


class Windows(NamedTuple):
    """A batch of windows of clips.

    degraded    [N, 3, T, S, S]; for siamese training one frame more, so that there are two windows
    told        for a denoiser the sigma that it is given, [N], NaN where it is not given; None for other models
    truth       [N, 3, S, S] or larger, of the middle frame
    truth_after the same of the next frame, for siamese training; else None
    flow        [N, 2, S, S], from `truth` to the next frame, in pixels; None where no loss needs it
    """

    degraded: Tensor
    told: Tensor | None
    truth: Tensor
    truth_after: Tensor | None = None
    flow: Tensor | None = None


class Restoration(Problem):
    """Trains on windows of real clips that are degraded artificially; the original middle frame is the target."""

    config: RestorationConfig

    def __init__(self, config: RestorationConfig, train: Pack, val: Pack | None) -> None:
        super().__init__(config, val)
        task: str = self.model.task
        self.protocol = f"{_described(task, config)}, RGB PSNR in dB, a value a clip"
        self.plain = "bicubic" if task == "super-resolution" else "the input"
        apart = 0
        if config.synthetic and len(train):
            scenes, _ = divided_photographs(read_scenes(config.photographs, config.cutouts, config.speed))
            pictures = panned(scenes, self.model.window + 3, *VIEW, config.seed)
            train, apart = Pack(train.clips + pictures.clips, train.frames + pictures.frames), len(pictures)
        copies = []
        if task == "deblocking":
            ways = config.compression
            copies = [[_compress(frames, ways[i % len(ways)]) for i, frames in enumerate(train.frames)]]
        elif task == "super-resolution" and config.kernel == "real":
            # two of each clip, which differ in how they became small
            copies = [
                [_really_small(frames, self.model.scale, 2 * i + n) for i, frames in enumerate(train.frames)]
                for n in range(2)
            ]
        if task != "super-resolution" and (
            config.siamese or config.flow_weighted or config.feature or config.adversarial
        ):
            raise ValueError("siamese, flow_weighted, feature and adversarial are for super-resolution")
        self._seen = self.model.window + bool(config.siamese)  # frames of a window, or of two that follow each other
        self._moves = config.flow_weighted or bool(config.siamese)
        # Flow leads to the next frame. It is drawn without flow as well, so that the crops are the same.
        length = max(self._seen, self.model.window // 2 + 2) if task == "super-resolution" else self._seen
        self.sampler = WindowSampler(
            train,
            copies,
            length,
            config.crop,
            config.batch,
            config.seed,
            scale=self.model.scale if copies else 1,
            apart=apart,
            share=config.synthetic,
        )
        self.features = FeatureDistance(config.feature_maps) if config.feature else None
        if self.features is not None and len(train):  # a checkpoint that is measured has them
            if not config.backbone:
                raise RefilmError(
                    "feature compares features of MobileNetV2: give its weights as backbone, or set feature = 0"
                )
            self.features.backbone.start_from(load_file(config.backbone))
        self.judge = RelativisticJudge(config.crop, config.judge) if config.adversarial else None
        self._compressed: list[Tensor] = []  # the validation clips after compression, once they have been asked for

    def draw(self, step: int) -> Windows:
        drawn, random = self.sampler.draw(step)
        middle, flow, truth_after = self.model.window // 2, None, None
        if self._moves:
            first, second = luma(drawn[0][:, :, middle : middle + 2].transpose(1, 2)).unbind(1)
            flow = MOTION.one_way(first, second)
        if self.config.siamese:
            truth_after = drawn[0][:, :, middle + 1]
        truth = drawn[0][:, :, middle]
        degraded = self._degrade([clip[:, :, : self._seen] for clip in drawn], random)
        return Windows(*degraded, truth, truth_after, flow)

    def loss(self, windows: Windows, step: int) -> Tensor:
        truth = windows.truth
        output, distance = self._restored(windows)
        told, loss = {}, self.config.pixel * distance
        if self.config.structure:
            loss = loss + self.config.structure * dissimilarity(output, truth)
        if self.features is not None:
            told["feature"] = self.features(output, truth)
            loss = loss + self.config.feature * told["feature"]
        if self.judge is not None:
            told["adversarial"], told["judge"] = self.judge.losses(output, truth)
            loss = loss + self.config.adversarial * told["adversarial"] + told["judge"]
        with torch.no_grad():
            plain = self._plainly(windows.degraded[:, :, : self.model.window])
            gain = 20 * torch.log10((plain - truth).norm() / (output - truth).norm())
        self.log_dict({"loss": loss, "gain_db": gain}, prog_bar=True, batch_size=1)
        if told:
            self.log_dict(told, batch_size=1)
        return loss

    def _restored(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """The middle frame, [N, 3, S, S], and the loss between results and truth that the config names."""
        clip, truth, config = windows.degraded, windows.truth, self.config
        if windows.truth_after is not None:
            assert windows.flow is not None
            pairs = self.model.prepare(torch.cat([clip[:, :, :-1], clip[:, :, 1:]]))
            output, after = self.model.network(pairs).float().chunk(2)
            terms = siamese_terms((output, after), (truth, windows.truth_after), windows.flow, self.distance)
            self.log_dict({f"siamese_{n}": term for n, term in enumerate(terms, start=1)}, batch_size=1)
            return output, (terms * terms.new_tensor(config.siamese)).sum()
        told = () if windows.told is None else (windows.told,)
        output = self.model.network(self.model.prepare(clip), *told).float()
        if windows.flow is not None:
            return output, weighted_squared_error(output, truth, motion_weights(windows.flow))
        return output, self.distance(output, truth)

    def _degrade(self, drawn: list[Tensor], random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """The degraded clips, and for a denoiser the sigma that it is given, [N], NaN where it is not given."""
        clean = drawn[0]
        if self.model.task == "deblocking":
            return drawn[1], None
        if self.model.task == "super-resolution":
            if self.config.kernel == "real":
                which = torch.randint(len(drawn) - 1, (len(clean), 1, 1, 1, 1), generator=random)
                return torch.where(which == 0, drawn[1], drawn[2]), None
            return _small(clean, self.config.kernel, self.model.scale), None
        count = len(clean)
        low, high = self.config.sigma
        sigma = low + (high - low) * torch.rand(count, generator=random)
        noisy = gaussian_noise(clean, sigma.view(-1, 1, 1, 1, 1), random)
        told = torch.where(torch.rand(count, generator=random) < self.config.told, sigma, torch.nan)
        filmed = told.isnan() & (torch.rand(count, generator=random) < self.config.film_noise)
        if filmed.any():
            noisy[filmed] = film_noise(clean[filmed], sigma[filmed].view(-1, 1, 1, 1, 1), random)
        return noisy, told

    def _plainly(self, clip: Tensor) -> Tensor:
        centre = clip[:, :, clip.shape[2] // 2]
        return bicubic_up(centre, self.model.scale) if self.model.scale > 1 else centre

    def validate(self, model: Any, val: Pack, frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {"psnr": [], "psnr_plain": []}
        told = {"sigma_8bit": self.config.val_sigma} if self.model.task == "denoising" else {}
        restore = ModelRestorer(model, self.device, told, filtered=False)  # as it is trained
        for number, frames in enumerate(val.frames):
            degraded, places = self._degraded(number, frames), spread(len(frames), frames_a_clip)
            rows = []
            for i, restored in zip(places, restore(degraded, places), strict=True):
                plain = self._plainly(degraded[i][None, :, None])[0]
                h, w = plain.shape[1:]  # smaller than the frame if the scale does not divide its size
                self.shown = plain, restored.float(), frames[i, :, :h, :w].float() / 255
                rows.append(tuple(psnr_db(picture, self.shown[2]) for picture in (self.shown[1], plain)))
            for name, column in zip(figures, zip(*rows, strict=True), strict=True):
                figures[name].append(sum(column) / len(column))
        return figures

    def _degraded(self, number: int, frames: Tensor) -> Tensor:
        """The degraded validation clip of that number. [T, 3, H, W] uint8 -> [T, 3, h, w]"""
        task, clean = self.model.task, frames.float() / 255
        if task == "denoising":
            seeds = [torch.Generator().manual_seed(1000 * number + i) for i in range(len(clean))]
            sigma = self.config.val_sigma
            return torch.stack([gaussian_noise(f, sigma, seed) for f, seed in zip(clean, seeds, strict=True)])
        if task == "deblocking" or self.config.kernel == "real":
            if not self._compressed:
                assert self.val is not None
                self._compressed = [self._compressed_clip(*clip) for clip in enumerate(self.val.frames)]
            return self._compressed[number].float() / 255
        return _small(clean.transpose(0, 1)[None], self.config.kernel, self.model.scale)[0].transpose(0, 1)

    def _compressed_clip(self, number: int, frames_u8: Tensor) -> Tensor:
        if self.model.task == "deblocking":
            return _compress(frames_u8, self.config.compression[0])
        return _really_small(frames_u8, self.model.scale, number)


def _divisible(frames: Tensor, scale: int) -> Tensor:
    height, width = (side // scale * scale for side in frames.shape[-2:])
    return frames[..., :height, :width]


def _really_small(frames_u8: Tensor, scale: int, number: int) -> Tensor:
    return real_small(_divisible(frames_u8, scale), scale, generator(0, number))


def _small(clip: Tensor, kernel: str, scale: int) -> Tensor:
    """Reduce a clip, after cropping H and W to multiples of the scale, and round it to 8 bit.

    [N, 3, T, H, W] -> [N, 3, T, H / scale, W / scale]
    """
    frames = _divisible(clip.transpose(1, 2).flatten(0, 1), scale)
    down = bicubic_down if kernel == "BI" else gaussian_down
    return as_shown(down(frames, scale)).unflatten(0, (len(clip), -1)).transpose(1, 2)


def _compress(frames_u8: Tensor, way: str) -> Tensor:
    codec, quality = way.split()
    return compress(frames_u8, codec, float(quality))


def _described(task: str, config: RestorationConfig) -> str:
    return {
        "denoising": f"Gaussian noise of sigma {config.val_sigma:g} of 255",
        "deblocking": f"compressed by {config.compression[0]}",
        "super-resolution": f"made small by {config.kernel}",
    }[task]
