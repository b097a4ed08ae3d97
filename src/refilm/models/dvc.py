"""DVC: learned compression of frames that refer to the one before, by motion and residual.

Source   Lu et al., "DVC: An End-to-end Deep Video Compression Framework", CVPR 2019, arXiv 1812.00101, in the form of
         the authors' PyTorch code (4.75 M parameters). Training over several frames and updating the encoder while it
         runs: Lu et al., "Content Adaptive and Error Propagation Aware Deep Video Compression", ECCV 2020, arXiv
         2003.11282 (EPA); the network is the same. One weight file for all qualities: Cui et al., "Asymmetric Gained
         Deep Image Compression", CVPR 2021, arXiv 2003.02012.
Departs  GDN, the factorised model and the hyperprior as in `layers/`; gains for each quality; in training, rates are
         those of latents with noise, and frames are made of rounded ones. Small sizes take their motion from DIS at the
         encoder, code it at half the size, its lowest frequencies as differences between neighbours, and compensate on
         frames whose pixels are folded into channels: docs/choices.md#compression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.codec_transforms import analysis, synthesis
from refilm.layers.entropy_models import (
    Bounded,
    FactorizedModel,
    Gains,
    bits_of,
    fitted_counts,
    gaussian_counts,
    noisy,
    rounded,
)
from refilm.layers.hyperprior import MULTIPLE, Hyperprior
from refilm.layers.optical_flow import DIS, luma
from refilm.layers.sampling import pixel_grid, sample
from refilm.layers.spynet import SpyNet
from refilm.layers.unet import at_zero
from refilm.models.bits import Tables, compressed, range_decoder, range_encoder
from refilm.models.contract import Codec
from refilm.models.dvc_updating import Start, updated

REPEATED = 0  # in the place of a quality: the picture is the one before
STRIDE = 16  # pixels of a frame for each place of a latent
MOTION = DIS(refinement=5)  # of small sizes, at the encoder
FLOW_UNIT = 8.0  # pixels; what coders of motion see is of about this size
# of quantisers at first, in the middle of the qualities: of the residual in [0, 1], of motion in FLOW_UNIT
RESIDUAL_STEP, MOTION_STEP = 0.2, 0.1
LAMBDAS = (128.0, 210.0, 345.0, 565.0, 928.0, 1522.0, 2497.0, 4096.0)


@dataclass(frozen=True)
class DVCConfig:
    """Defaults: the size of the authors' code.

    channels         of the residual's coder and of the hyperprior
    latents          channels of the residual's latent
    motion           at the encoder: "spynet", which is trained within the codec, or "dis". A bitstream does not say
    levels           of SpyNet
    motion_channels  of the motion's coder
    motion_latents   channels of the motion's latent
    motion_layers    "plain": two convolutions for each halving with leaky ReLU, as in the authors' code; "gdn": one,
                     with GDN, as in the paper
    motion_scale     motion is coded at the frame's size divided by this, 1 or 2
    motion_differences  how many channels of the motion's latent, the first ones, are coded as differences from the
                     place above; layers begin as a wavelet transform, whose lowest frequencies are the first two
    compensation     channels of the network that corrects the warped frame
    shuffle          by which that network's input is folded: `shuffle` x `shuffle` pixels become channels
    sees_motion      whether that network also sees the decoded motion
    lambdas          the trade-off of each quality, ascending: the loss is lambda * D + R, with the mean squared error D
                     of RGB in [0, 1], and R in bits per pixel

    Raises ValueError for values out of range.
    """

    channels: int = 64
    latents: int = 96
    motion: Literal["spynet", "dis"] = "spynet"
    levels: int = 4
    motion_channels: int = 128
    motion_latents: int = 128
    motion_layers: Literal["plain", "gdn"] = "plain"
    motion_scale: int = 1
    motion_differences: int = 0
    compensation: int = 64
    shuffle: int = 1
    sees_motion: bool = False
    lambdas: Sequence[float] = LAMBDAS

    def __post_init__(self) -> None:
        object.__setattr__(self, "lambdas", tuple(self.lambdas))  # JSON and TOML give lists
        if self.motion not in ("spynet", "dis"):
            raise ValueError(f'motion must be "spynet" or "dis", got {self.motion!r}')
        if self.motion_layers not in ("plain", "gdn"):
            raise ValueError(f'motion_layers must be "plain" or "gdn", got {self.motion_layers!r}')
        if self.motion_scale not in (1, 2) or self.shuffle not in (1, 2, 4):
            raise ValueError(
                f"motion_scale must be 1 or 2 and shuffle 1, 2 or 4, got {self.motion_scale} and {self.shuffle}"
            )
        if not 0 <= self.motion_differences <= self.motion_latents:
            raise ValueError(
                f"motion_differences must be from 0 to motion_latents, {self.motion_latents}, got "
                f"{self.motion_differences}"
            )
        if not self.lambdas or list(self.lambdas) != sorted(self.lambdas) or self.lambdas[0] <= 0:
            raise ValueError(f"lambdas must be above 0 and ascend, got {list(self.lambdas)}")


class Predicted(NamedTuple):
    """A frame as it is predicted from motion.

    flow        [N, 2, h, w], decoded, in pixels of the frame; h = H / motion_scale
    warped      [N, 3, H, W]
    prediction  [N, 3, H, W], what the network makes of it
    bits        [N], of the motion
    """

    flow: Tensor
    warped: Tensor
    prediction: Tensor
    bits: Tensor


class Latents(NamedTuple):
    """What is written of a frame, rounded: of its motion, of the side information, and of the residual.

    motion [N, motion_latents, h, w], z [N, channels, ceil(h / MULTIPLE), ...], y [N, latents, h, w]; h = H / STRIDE
    """

    motion: Tensor
    z: Tensor
    y: Tensor


class Coded(NamedTuple):
    """A frame as it is decoded. frame: [N, 3, H, W], in [0, 1]; bits: [N], of the residual and its side information"""

    frame: Tensor
    bits: Tensor


class DVC(nn.Module, Codec):
    """The coder of frames that refer to the one before. See `DVCConfig`.

    The first frame that others refer to is coded by another codec, and handed over by `refer_to`.

    y_counts       int32 [SCALES, K], tables of the residual's latent, by the index of their scale
    motion_counts  int32 [Q, C, K], tables of the motion's latent for each quality
    z_counts       int32 [C, K], tables of the side information
    """

    y_counts: Tensor
    motion_counts: Tensor
    z_counts: Tensor

    task = "compression"
    window, reach, recurrent = 1, None, True
    codes_keys = False

    def __init__(self, config: DVCConfig = DVCConfig()) -> None:
        super().__init__()
        self.config = config
        self.levels = 255
        self.reset()
        self.spynet = SpyNet(config.levels) if config.motion == "spynet" else None
        coders = _plain_coders if config.motion_layers == "plain" else _gdn_coders
        self.motion_encoder, self.motion_decoder = coders(config)
        self.motion_gains = Gains(config.lambdas, config.motion_latents, MOTION_STEP)
        self.of_motion = FactorizedModel(config.motion_latents, start=0.5)
        self.compensate = Compensation(config)
        self.residual_encoder = analysis(3, config.channels, config.latents)
        self.residual_decoder = synthesis(config.latents, config.channels, 3)
        self.residual_gains = Gains(config.lambdas, config.latents, RESIDUAL_STEP)
        self.hyperprior = Hyperprior(config.latents, config.channels)
        self.register_buffer("y_counts", gaussian_counts())
        self.register_buffer("motion_counts", self._counts_of_motion())
        self.register_buffer("z_counts", self.hyperprior.of_z.counts())

    def forward(self, frame: Tensor, reference: Tensor, quality: Tensor) -> tuple[Predicted, Coded]:
        """Code a frame, in training with noise for rounding. [N, 3, H, W] twice, H and W multiples of STRIDE; [N]"""
        predicted = self.predicted(self.estimated_motion(frame, reference), reference, quality)
        return predicted, self.coded(frame, predicted.prediction, quality)

    @torch.no_grad()
    def finish(self, films: Sequence[Tensor] = ()) -> None:
        """Make the tables by which latents are coded: from the trained distributions, and from what films give.

        films   frames_u8 [T, 3, H, W] each, of which each but the first refers to the one before
        """
        self.motion_counts.copy_(self._counts_of_motion())
        self.z_counts.copy_(self.hyperprior.of_z.counts())
        self.y_counts.copy_(gaussian_counts())
        if films:
            tables = self.motion_counts, self.z_counts, self.y_counts
            for table, seen in zip(tables, self._seen(films), strict=True):
                table.copy_(fitted_counts(table.flatten(0, -2), seen.flatten(0, -2)).view_as(table))
        self.__dict__.pop("_tables", None)

    def _seen(self, films: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """How often each symbol occurs in films, at all qualities: in the shapes of the tables, but float32."""
        counts = tuple(torch.zeros(table.shape) for table in (self.motion_counts, self.z_counts, self.y_counts))
        for quality in range(1, self.qualities + 1):
            of_motion, of_z, of_y = counts[0][quality - 1], counts[1], counts[2]
            for film in films:
                frames = padded(film.to(self.y_counts.device).float() / 255)
                self.refer_to(frames[0])
                for frame in frames[1:]:
                    motion, z, y = self._latents(frame[None], self.decoded[None], quality, effort=0)
                    for seen, values in ((of_motion, self._differences(motion, motion)), (of_z, z)):
                        _count(seen, values, _channels(values))
                    _count(of_y, y, self.hyperprior.indices(z, y.shape[2], y.shape[3]))
                    self._reconstruct(motion, y, quality)
        self.reset()
        return counts[0], counts[1], counts[2]

    def _counts_of_motion(self) -> Tensor:
        steps = (-self.motion_gains.log_before.detach()).exp()
        return torch.stack([self.of_motion.counts(step) for step in steps])

    @property
    def qualities(self) -> int:
        return len(self.config.lambdas)

    def trade_off(self, quality: int) -> float:
        return float(self.config.lambdas[quality - 1])

    def reset(self) -> None:
        self._reference: Tensor | None = None

    def refer_to(self, picture: Tensor) -> None:
        self._reference = picture

    @property
    def decoded(self) -> Tensor:
        if self._reference is None:
            raise ValueError("the first picture is coded by another codec, and handed over by refer_to")
        return self._reference

    @torch.no_grad()
    def compress(self, frame: Tensor, quality: int = 4, effort: int = 0) -> bytes:
        """See `Codec.compress`. Raises ValueError without a picture to refer to, or if that has another size."""
        if frame.shape != self.decoded.shape:
            raise ValueError(f"the picture is {list(frame.shape)}, and the one before {list(self.decoded.shape)}")
        before, frame = self.decoded, frame.clamp(0, 1)
        latents = self._latents(padded(frame[None]), padded(before[None]), quality, effort)
        encoder = range_encoder()
        motion = self._differences(latents.motion, latents.motion)
        for tables, values, rows in self._parts(motion, latents.z, quality):
            tables.encode(encoder, values, rows)
        rows = self.hyperprior.indices(latents.z, *latents.y.shape[2:])
        self._tables[-1].encode(encoder, latents.y, rows)
        data = bytes([quality]) + compressed(encoder)
        self._reconstruct(latents.motion, latents.y, quality)
        change = (before - frame).square().mean() - (self.decoded - frame).square().mean()
        if self.trade_off(quality) * float(change) > 8 * len(data) / before[0].numel():
            return data
        # the picture before is good enough, and costs nothing
        self._reference = before
        return bytes([REPEATED])

    @torch.no_grad()
    def decompress(self, data: bytes) -> Tensor:
        if data == bytes([REPEATED]):
            return self.decoded
        quality, latents = self.read(data)
        return self._reconstruct(latents.motion, latents.y, quality)

    @torch.no_grad()
    def read(self, data: bytes) -> tuple[int, Latents]:
        """The quality of a picture, and the whole numbers that are written of it: the same on every machine.

        Raises ValueError for bytes that the codec cannot have made.
        """
        quality = data[0] if data else 0
        if not 1 <= quality <= self.qualities:
            raise ValueError(f"a picture of quality {quality}, and this codec has 1 to {self.qualities}")
        device, (height, width) = self.decoded.device, self.decoded.shape[1:]
        rows, columns = (-(-side // STRIDE) for side in (height, width))
        motion = torch.empty(1, self.config.motion_latents, rows, columns)
        z = torch.empty(1, self.config.channels, -(-rows // MULTIPLE), -(-columns // MULTIPLE))
        decoder = range_decoder(data[1:])
        motion, z = (
            tables.decode(decoder, rows).float().to(device) for tables, _, rows in self._parts(motion, z, quality)
        )
        y = self._tables[-1].decode(decoder, self.hyperprior.indices(z, rows, columns)).float().to(device)
        return quality, Latents(self._sums(motion), z, y)

    @cached_property
    def _tables(self) -> tuple[list[Tables], Tables, Tables]:
        """Of the motion for each quality, of the side information, and of the residual."""
        return [Tables(counts) for counts in self.motion_counts], Tables(self.z_counts), Tables(self.y_counts)

    def _parts(self, motion: Tensor, z: Tensor, quality: int) -> Iterator[tuple[Tables, Tensor, Tensor]]:
        """What has a distribution for each channel, with its tables and the rows of these.

        motion   as `_differences` gives it
        """
        of_motion, of_z, _ = self._tables
        for tables, values in ((of_motion[quality - 1], motion), (of_z, z)):
            yield tables, values, _channels(values)

    def _latents(self, frame: Tensor, reference: Tensor, quality: int, effort: int) -> Latents:
        q = torch.tensor([quality - 1], device=frame.device)
        flow = self.estimated_motion(frame, reference)
        motion = self.motion_encoder(flow / FLOW_UNIT) * self.motion_gains.before(q)
        _, prediction = self.prediction(self.decoded_motion(motion.round(), q), reference)
        y = self.residual_encoder(frame - prediction) * self.residual_gains.before(q)
        if effort:
            motion, y = updated(self, frame, reference, quality, effort, Start(motion, y))
        return Latents(motion.round(), self.hyperprior.analysed(y).round(), y.round())

    def _reconstruct(self, motion: Tensor, y: Tensor, quality: int) -> Tensor:
        """The decoded picture, which the next one refers to. Encoder and decoder call this alike."""
        height, width = self.decoded.shape[1:]
        # in one layout, with which goes the order of summation in convolutions; in this one they are a tenth faster
        motion, y, before = (
            each.contiguous(memory_format=torch.channels_last) for each in (motion, y, padded(self.decoded[None]))
        )
        q = torch.tensor([quality - 1], device=y.device)
        _, prediction = self.prediction(self.decoded_motion(motion, q), before)
        picture = self.completed(y, prediction, q)[0, :, :height, :width].contiguous()
        picture = picture.nan_to_num(0.0)  # of damaged bytes
        self._reference = picture.mul(self.levels).round().div(self.levels)
        return self._reference

    def estimated_motion(self, frame: Tensor, reference: Tensor) -> Tensor:
        """The flow from the frame to the one it refers to. [N, 3, H, W] twice -> [N, 2, h, w]"""
        flow: Tensor = (
            MOTION.one_way(luma(frame), luma(reference)) if self.spynet is None else self.spynet(frame, reference)
        )
        return F.avg_pool2d(flow, self.config.motion_scale)

    def predicted(self, flow: Tensor, reference: Tensor, quality: Tensor) -> Predicted:
        """Code the motion, and predict the frame by it.

        flow       [N, 2, h, w], from the frame to `reference`, in pixels of the frame
        reference  [N, 3, H, W], the frame before, as decoded; H and W multiples of STRIDE
        quality    [N], indices of `DVCConfig.lambdas`
        """
        latent = self.motion_encoder(flow / FLOW_UNIT) * self.motion_gains.before(quality)
        bits = self.bits_of_motion(noisy(latent) if self.training else latent.round(), rounded(latent), quality)
        decoded = self.decoded_motion(rounded(latent), quality)
        warped, prediction = self.prediction(decoded, reference)
        return Predicted(decoded, warped, prediction, bits)

    def bits_of_motion(self, latent: Tensor, neighbours: Tensor, quality: Tensor) -> Tensor:
        """The bits that the motion takes. latent: rounded, or with noise; neighbours: rounded -> [N]"""
        width = 1 / self.motion_gains.before(quality)
        return bits_of(self.of_motion.probability(self._differences(latent, neighbours), width))

    def _differences(self, motion: Tensor, neighbours: Tensor) -> Tensor:
        """The motion's latent [N, C, h, w] as it is coded: its first channels less the place above, from `neighbours`.

        Of the first row, less the place to the left.
        """
        low, rest = motion.tensor_split([self.config.motion_differences], dim=1)
        of_low = neighbours[:, : low.shape[1]]
        left = F.pad(of_low[:, :, :1, :-1], (1, 0))
        return torch.cat((low - torch.cat((left, of_low[:, :, :-1]), dim=2), rest), dim=1)

    def _sums(self, coded: Tensor) -> Tensor:
        """The motion's latent, whole numbers, from its `_differences`."""
        low, rest = coded.tensor_split([self.config.motion_differences], dim=1)
        rows = torch.cat((low[:, :, :1].cumsum(3), low[:, :, 1:]), dim=2)
        return torch.cat((rows.cumsum(2), rest), dim=1)

    def coded(self, frame: Tensor, prediction: Tensor, quality: Tensor) -> Coded:
        """Code what the prediction lacks. [N, 3, H, W] twice; quality as for `predicted`"""
        latent = self.residual_encoder(frame - prediction) * self.residual_gains.before(quality)
        return Coded(self.completed(rounded(latent), prediction, quality), self.hyperprior(latent))

    def decoded_motion(self, latent: Tensor, quality: Tensor) -> Tensor:
        """Rounded latent -> flow [N, 2, h, w] in pixels of the frame."""
        flow: Tensor = self.motion_decoder(latent * self.motion_gains.after(quality))
        return flow * FLOW_UNIT

    def prediction(self, flow: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """The warped frame, and what the network makes of it. [N, 2, h, w], [N, 3, H, W] -> [N, 3, H, W] twice"""
        whole = flow
        if self.config.motion_scale > 1:
            whole = F.interpolate(flow, scale_factor=self.config.motion_scale, mode="bilinear")
        warped = sample(reference, pixel_grid(reference.shape[2], reference.shape[3], reference.device) + whole)
        return warped, self.compensate(warped, reference, flow)

    def completed(self, latent: Tensor, prediction: Tensor, quality: Tensor) -> Tensor:
        """Rounded latent of the residual, and prediction -> the decoded frame [N, 3, H, W], in [0, 1]."""
        residual = self.residual_decoder(latent * self.residual_gains.after(quality))
        out: Tensor = Bounded.apply(prediction + residual, 0.0, 1.0)
        return out


class Compensation(nn.Module):
    """Corrects a warped frame: residual blocks on three scales (DVC, figure 6). Begins as the identity."""

    def __init__(self, config: DVCConfig) -> None:
        super().__init__()
        self._shuffle, self._sees_motion = config.shuffle, config.sees_motion
        self._fold_motion = config.shuffle // config.motion_scale
        folded, channels = config.shuffle**2, config.compensation
        planes = 6 * folded + (2 * self._fold_motion**2 if config.sees_motion else 0)
        self.first = nn.Conv2d(planes, channels, 3, padding=1)
        self.blocks = nn.ModuleList(ResBlock(channels) for _ in range(6))
        self.last = at_zero(nn.Conv2d(channels, 3 * folded, 3, padding=1))

    def forward(self, warped: Tensor, reference: Tensor, flow: Tensor) -> Tensor:
        """[N, 3, H, W] twice, and the decoded flow [N, 2, h, w] -> [N, 3, H, W]"""
        seen = [F.pixel_unshuffle(frame, self._shuffle) for frame in (warped, reference)]
        if self._sees_motion:
            seen.append(F.pixel_unshuffle(flow, self._fold_motion) / FLOW_UNIT)
        x = F.relu(self.first(torch.cat(seen, dim=1)))
        whole = self.blocks[0](x)
        half = self.blocks[1](F.avg_pool2d(whole, 2))
        x = self.blocks[2](F.avg_pool2d(half, 2))
        x = half + F.interpolate(self.blocks[3](x), scale_factor=2, mode="bilinear")
        x = whole + F.interpolate(self.blocks[4](x), scale_factor=2, mode="bilinear")
        change = self.last(F.relu(self.blocks[5](x)))
        return warped + F.pixel_shuffle(change, self._shuffle)


class ResBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, plus the input. [N, C, H, W] -> same shape"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(F.relu_(self.conv1(F.relu(x))))
        return x + out


def _channels(values: Tensor) -> Tensor:
    """The channel of each value. [N, C, H, W] -> same shape"""
    return torch.arange(values.shape[1], device=values.device).view(1, -1, 1, 1).expand(values.shape)


def _count(seen: Tensor, values: Tensor, rows: Tensor) -> None:
    """Add to how often symbols were seen, [R, K]; the place in the middle is that of 0."""
    reach = seen.shape[1] // 2
    places = rows * seen.shape[1] + values.clamp(-reach, reach).long() + reach
    seen.view(-1).add_(torch.bincount(places.flatten().cpu(), minlength=seen.numel()))


def padded(frame: Tensor, multiple: int = STRIDE) -> Tensor:
    """[N, C, H, W] -> H and W multiples, by repeating the border on the right and below."""
    height, width = frame.shape[2:]
    return F.pad(frame, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _gdn_coders(config: DVCConfig) -> tuple[nn.Sequential, nn.Sequential]:
    """Of the motion, as in the paper's figure 4."""
    layers = 4 if config.motion_scale == 1 else 3
    channels, latents = config.motion_channels, config.motion_latents
    return analysis(2, channels, latents, layers, side=3), synthesis(latents, channels, 2, layers, side=3)


def _plain_coders(config: DVCConfig) -> tuple[nn.Sequential, nn.Sequential]:
    """Of the motion, as in the authors' code: between two layers of stride 2 is one of stride 1, with leaky ReLU."""
    halvings = 4 if config.motion_scale == 1 else 3
    channels, latents = config.motion_channels, config.motion_latents
    encoder: list[nn.Module] = []
    decoder: list[nn.Module] = []
    for number in range(halvings):
        last = number == halvings - 1
        encoder += [nn.Conv2d(channels if number else 2, channels, 3, 2, 1), nn.LeakyReLU(0.1)]
        encoder += [nn.Conv2d(channels, latents if last else channels, 3, 1, 1), nn.LeakyReLU(0.1)]
        decoder += [nn.ConvTranspose2d(channels if number else latents, channels, 3, 2, 1, 1), nn.LeakyReLU(0.1)]
        decoder += [nn.Conv2d(channels, 2 if last else channels, 3, 1, 1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*encoder[:-1]), _still_at_first(nn.Sequential(*decoder[:-1]))


def _still_at_first(decoder: nn.Sequential) -> nn.Sequential:
    """The decoder, whose motion is small until it is trained."""
    last = decoder[-1]
    assert isinstance(last, nn.Conv2d | nn.ConvTranspose2d)
    with torch.no_grad():
        last.weight.mul_(0.1)
    return decoder
