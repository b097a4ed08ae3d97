"""Training of learned codecs: single pictures, and frames that refer to the one before."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.data import Draws, Limits, Pack, WindowSampler, read_packs, read_split
from refilm.data.camera_paths import read_photographs
from refilm.data.crops import turns
from refilm.data.degradations import compress
from refilm.data.draws import below, chance, generator
from refilm.layers.entropy_models import FactorizedModel, Gains
from refilm.layers.optical_flow import DIS, luma
from refilm.models.dvc import padded
from refilm.training.compression_config import PictureCompressionConfig, VideoCompressionConfig
from refilm.training.config import TrainConfig
from refilm.training.problem import Problem
from refilm.video.key_pictures import crf_for

# What flow between crops is estimated by. Encoding takes more time for it.
CROP_MOTION = DIS(refinement=1)
TOGETHER = 4  # runs whose first frames go through one encoder, at the same quality
FITTED_CLIPS, FITTED_FRAMES, FITTED_SIDE = 32, 3, 160  # of the training set, to which tables are fitted
QUICK = 5.0  # learning rate of distributions and gains, relative to the rest
VALIDATED = 3  # the quality that validations code at, an index of `lambdas`


class Pictures(NamedTuple):
    """A batch for the codec of single pictures. frames_u8: [N, 3, S, S]; quality: [N], indices of `lambdas`"""

    frames_u8: Tensor
    quality: Tensor


class Runs(NamedTuple):
    """A batch for the codec of frames that refer to the one before.

    first_u8   [N, 3, S, S], what the first coded frame refers to
    frames_u8  [N, T, 3, S, S], the frames to be coded
    flows      [N, T, 2, s, s], from each of these to the one before, in pixels of a frame, half precision; s is S by
               the model's `motion_scale`
    quality    [N], indices of `lambdas`
    """

    first_u8: Tensor
    frames_u8: Tensor
    flows: Tensor
    quality: Tensor


class _Compression(Problem):
    """What both trainings have in common."""

    lambdas: Tensor  # [Q]

    def __init__(self, config: TrainConfig, val: Pack | None) -> None:
        super().__init__(config, val)
        self.register_buffer("lambdas", torch.tensor(self.model.config.lambdas), persistent=False)

    def loss(self, batch: Any, step: int) -> Tensor:
        """The loss of a batch. The noise in it depends on the seed and the step only, as the batch does."""
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        loss, figures = self.judged(batch, step)
        self.log_dict({"loss": loss, **figures}, batch_size=1)
        return loss

    def judged(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and figures for the log."""
        raise NotImplementedError

    def relative_rates(self) -> dict[str, float]:
        """Distributions and gains, which are few numbers that much depends on, learn faster."""
        quick = [module for module in self.modules() if isinstance(module, FactorizedModel | Gains)]
        numbers = {id(parameter) for module in quick for parameter in module.parameters()}
        named = [name for name, parameter in self.named_parameters() if id(parameter) in numbers]
        return super().relative_rates() | dict.fromkeys(named, QUICK)

    def finish(self, model: Any) -> None:
        """Make the tables by which the trained model codes."""
        model.eval().finish()


class PictureCompression(_Compression):
    """Trains on crops of frames and of photographs.

    A validation codes the first frame of each clip. The figure is the cost D + R / lambda in dB, as PSNR is of D.
    """

    config: PictureCompressionConfig
    protocol = "the first frame, quality 4, -10 log10 (D + R / lambda) of RGB in [0, 1], a value a clip"
    plain = "JPEG"
    figure = ("rd", "dB")

    def __init__(self, config: PictureCompressionConfig, train: Pack, val: Pack | None) -> None:
        super().__init__(config, val)
        self.draws = Draws(train, config.batch, config.seed)
        self._frames = train.frames
        # photographs of films are read when a training begins, not when a checkpoint is measured
        folders = config.photographs if len(train) else ()
        pictures = [picture for folder in folders for picture in read_photographs(folder)]
        self._photographs = [picture for picture in pictures if min(picture.shape[1:]) >= config.crop]

    def draw(self, step: int) -> Pictures:
        random, side = self.draws.generator(step), self.config.crop
        crops = []
        for clip in self.draws.clips(random, side, 1):
            picture = self._frames[clip][below(len(self._frames[clip]), random)]
            if self._photographs and chance(random, self.config.stills):
                picture = self._photographs[below(len(self._photographs), random)]
            y, x = (below(length - side + 1, random) for length in picture.shape[1:])
            crops.append(turns(random)(picture[None, :, y : y + side, x : x + side])[0])
        quality = torch.randint(len(self.model.config.lambdas), (len(crops),), generator=random)
        return Pictures(torch.stack(crops), quality)

    def judged(self, batch: Pictures, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        frames = batch.frames_u8.float() / 255
        coded = self.model.coded(frames, batch.quality)
        rate, error = coded.bits / _pixels(frames), squared_error(coded.frame, frames)
        loss = cost(rate, error, self.lambdas[batch.quality], self.config.balance)
        return loss, {"bpp": rate.mean(), "psnr": -10 * error.log10().mean()}

    def validate(self, model: Any, val: Pack, frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {"rd": [], "rd_plain": [], "psnr": [], "bpp": []}
        rd_lambda = model.config.lambdas[VALIDATED]
        for clip in val.frames:
            frame = clip[:1].to(self.device).float() / 255
            coded = model.coded(padded(frame), torch.tensor([VALIDATED], device=self.device))
            decoded = coded.frame[..., : frame.shape[2], : frame.shape[3]]
            rate, error = float(coded.bits) / _pixels(frame), float(squared_error(decoded, frame))
            jpeg, plain = best_jpeg(clip[0], rd_lambda)
            self.shown = plain, decoded[0].cpu(), frame[0].cpu()
            row = (in_db(error + rate / rd_lambda), in_db(jpeg), in_db(error), rate)
            for name, value in zip(figures, row, strict=True):
                figures[name].append(value)
        return figures


class VideoCompression(_Compression):
    """Trains on runs of frames, each of which refers to the one before.

    A validation codes the first frames of each clip, of which the very first goes through x264. The figure is the cost
    D + R / lambda in dB, as PSNR is of D, over the frames that refer to another.
    """

    config: VideoCompressionConfig
    protocol = "frames 2 to 1 + n, quality 4, -10 log10 (D + R / lambda) of RGB in [0, 1], a value a clip"
    plain = "the frame before"
    figure = ("rd", "dB")

    def __init__(self, config: VideoCompressionConfig, train: Pack, val: Pack | None) -> None:
        super().__init__(config, val)
        self._samplers = {
            (run, gap): WindowSampler(train, [], run * gap + 1, config.crop, config.batch, config.seed)
            for run in config.runs
            for gap in config.gaps
        }

    def draw(self, step: int) -> Runs:
        config = self.config
        # not the generator of the sampler, which begins with the same numbers
        random = generator(config.seed + 1, step)
        run, gap = config.run_at(step), config.gaps[below(len(config.gaps), random)]
        (crops,), _ = self._samplers[run, gap].draw(step)
        clips = crops.transpose(1, 2)[:, ::gap].mul(255).round().byte()  # [N, 1 + T, 3, S, S]
        quality = torch.randint(len(self.model.config.lambdas), (len(clips),), generator=random)
        first = clips[:, 0].clone()
        for start in range(0, len(clips), TOGETHER):
            together = slice(start, start + TOGETHER)
            quality[together] = quality[start]
            if chance(random, config.intra):
                crf = crf_for(self.model.config.lambdas[int(quality[start])])
                first[together] = compress(first[together], "h264-intra", crf)
        return Runs(first, clips[:, 1:], self._flows(clips), quality)

    def _flows(self, clips: Tensor) -> Tensor:
        """From each frame to the one before, as small as it is coded. [N, 1 + T, 3, S, S] uint8 -> [N, T, 2, s, s]"""
        count, side = len(clips), clips.shape[-1]
        if self.model.config.motion != "dis":
            return torch.zeros(count, clips.shape[1] - 1, 0, side, side, dtype=torch.float16)
        planes = luma(clips.float() / 255)
        flows = CROP_MOTION.one_way(planes[:, 1:].flatten(0, 1), planes[:, :-1].flatten(0, 1))
        return F.avg_pool2d(flows, self.model.config.motion_scale).half().unflatten(0, (count, -1))

    def judged(self, batch: Runs, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        lambdas, reference = self.lambdas[batch.quality], batch.first_u8.float() / 255
        losses, rates, errors = [], [], []
        for frame_u8, flow in zip(batch.frames_u8.unbind(1), batch.flows.unbind(1), strict=True):
            frame = frame_u8.float() / 255
            motion = flow.float() if flow.shape[1] else self.model.estimated_motion(frame, reference)
            predicted = self.model.predicted(motion, reference, batch.quality)
            rate = predicted.bits / _pixels(frame)
            of_warped, of_prediction = (squared_error(x, frame) for x in (predicted.warped, predicted.prediction))
            if step < config.motion_until:
                error, reference = of_warped, predicted.warped
            elif step < config.compensation_until:
                error, reference = of_prediction, predicted.prediction.clamp(0, 1)
            else:
                coded = self.model.coded(frame, predicted.prediction, batch.quality)
                rate = rate + coded.bits / _pixels(frame)
                error, reference = squared_error(coded.frame, frame), coded.frame
            helped = error
            if config.compensation_until <= step < config.helped_until:
                helped = error + config.help * (of_warped + of_prediction)
            losses.append(cost(rate, helped, lambdas, config.balance))
            rates.append(rate.detach().mean())
            errors.append(error.detach().log10().mean())
        psnr = -10 * torch.stack(errors).mean()
        return torch.stack(losses).mean(), {"bpp": torch.stack(rates).mean(), "psnr": psnr}

    def finish(self, model: Any) -> None:
        """Make the tables by which the trained model codes; they are fitted to clips of the training set."""
        config, limits = self.config, Limits(max_frames=FITTED_FRAMES, max_clips=FITTED_CLIPS)
        clips = read_split(config.data, "train", limits) if config.data else read_packs(*config.train, limits=limits)
        model.eval().finish([_centre(frames, FITTED_SIDE) for frames in clips.frames])

    def validate(self, model: Any, val: Pack, frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {"rd": [], "rd_plain": [], "psnr": [], "bpp": []}
        rd_lambda = model.config.lambdas[VALIDATED]
        quality = torch.tensor([VALIDATED], device=self.device)
        for clip in val.frames:
            reference = padded(compress(clip[:1], "h264-intra", crf_for(rd_lambda)).to(self.device).float() / 255)
            height, width = clip.shape[2:]
            rows = []
            for frame_u8, before_u8 in zip(clip[1:], clip[: frames_a_clip or None], strict=False):
                frame = padded(frame_u8[None].to(self.device).float() / 255)
                predicted, coded = model(frame, reference, quality)
                reference = coded.frame.mul(255).round() / 255
                truth, result = (picture[0, :, :height, :width].cpu() for picture in (frame, reference))
                rate = float(predicted.bits + coded.bits) / (height * width)
                error, before = float((result - truth).square().mean()), before_u8.float() / 255
                rows.append((error, rate, float((before - truth).square().mean())))
                self.shown = before, result, truth
            error, rate, plain = (sum(column) / len(column) for column in zip(*rows, strict=True))
            row = (in_db(error + rate / rd_lambda), in_db(plain), in_db(error), rate)
            for name, value in zip(figures, row, strict=True):
                figures[name].append(value)
        return figures


def _centre(frames: Tensor, side: int) -> Tensor:
    """The middle of frames [T, 3, H, W], with sides of at most `side`."""
    top, left = (max(0, length - side) // 2 for length in frames.shape[2:])
    return frames[:, :, top : top + side, left : left + side]


def cost(rate: Tensor, error: Tensor, lambdas: Tensor, balance: float) -> Tensor:
    """The mean of lambda * D + R, where each crop counts by lambda^-balance, relative to the mean of these. [N] each"""
    weights = lambdas**-balance
    return (weights / weights.mean() * (lambdas * error + rate)).mean()


def squared_error(result: Tensor, truth: Tensor) -> Tensor:
    """The mean squared error of each picture. [N, C, H, W] twice -> [N]"""
    return (result - truth).square().mean((1, 2, 3))


def best_jpeg(frame_u8: Tensor, rd_lambda: float) -> tuple[float, Tensor]:
    """The least cost D + R / lambda of a JPEG, and that picture. [3, H, W] uint8 -> (cost, [3, H, W] in [0, 1])"""
    picture = np.ascontiguousarray(frame_u8.flip(0).permute(1, 2, 0).numpy())
    best = math.inf, frame_u8.float() / 255
    for quality in range(10, 96, 5):
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR)).permute(2, 0, 1).flip(0).float() / 255
        error = float((decoded - frame_u8.float() / 255).square().mean())
        total = error + 8 * data.size / (picture.shape[0] * picture.shape[1]) / rd_lambda
        if total < best[0]:
            best = total, decoded
    return best


def in_db(value: float) -> float:
    return -10 * math.log10(max(value, 1e-12))


def _pixels(frames: Tensor) -> int:
    return frames.shape[-2] * frames.shape[-1]
