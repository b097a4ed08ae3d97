"""The pictures of a learned codec: from frames to coded pictures, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from refilm.errors import VideoError, WeightsError
from refilm.models import MODELS, create_model
from refilm.models.contract import Codec
from refilm.models.table import find_weights
from refilm.stages.demand import Demand, Measured, measured
from refilm.stages.findings import Finding
from refilm.stages.stage import StreamShape
from refilm.video import Frame
from refilm.video.coded import BY_MODEL, CodedStream, Picture, picture_checksum
from refilm.video.coded_file import CodedPicture
from refilm.video.colour import Colour
from refilm.video.key_pictures import best_for, crf_for, decode_picture, encode_picture, format_for
from refilm.video.pixel_format import PixelFormat
from refilm.video.rgb import from_rgb, to_rgb

# By how much better key pictures are than those that follow them would be at the same trade-off, as a difference of
# crf: all others profit. docs/choices.md#compression
KEY_BONUS = 7.0
KEY_BYTES = 40.0  # a pixel, that SVT-AV1 takes beside what is held of a frame: 82 MB at 1920x1080


@dataclass(frozen=True)
class Chunk:
    """A coded picture with its time, see `refilm.video.piece_writer.Coded`."""

    time: Fraction
    duration: Fraction
    is_key: bool
    data: bytes


class RateControl:
    """Chooses the quality of each picture so that each group of pictures comes close to a number of bits.

    A group gets what it should have, and what the ones before it have left over or overdrawn.

    bits        of a group that is as long as it can be
    pictures    that it has then
    qualities   from 1 to this
    """

    def __init__(self, bits: float, pictures: int, qualities: int) -> None:
        self._bits, self._pictures, self._qualities = bits, pictures, qualities
        self.quality = (qualities + 1) // 2
        self._left, self._to_come = 0.0, 0

    def begin(self) -> None:
        """A key picture follows."""
        # what a group cut short by a scene has not spent is not for the next one
        unspent = self._left - self._to_come * self._bits / self._pictures
        self._left, self._to_come = self._bits + min(max(unspent, -self._bits), self._bits), self._pictures

    def spend(self, bits: float, is_key: bool) -> None:
        """A picture has taken so many."""
        self._left, self._to_come = self._left - bits, max(self._to_come - 1, 0)
        if not self._to_come:
            return
        share = max(self._left, 0) / self._to_come
        if is_key:  # which says little of the others; too dear a one is the fault of the quality all the same
            self.quality -= share < self._bits / self._pictures / 4
        else:
            self.quality += (bits < share / 1.3) - (bits > 1.3 * share)
        self.quality = min(max(self.quality, 1), self._qualities)


class Compress:
    """Codes each frame. Key pictures are the first frame that it is fed, each `gop`-th after it, and those that begin a
    scene.

    quality, effort   see `Codec.compress`; no quality: as bpp asks for
    bpp               bits a pixel
    """

    keeps_rate = False
    past = future = skip = 0
    findings: dict[str, Finding] = {}  # noqa: RUF012  # nothing to note

    def __init__(
        self,
        model: Codec,
        quality: int | None,
        effort: int,
        gop: int,
        device: torch.device | str = "cpu",
        bpp: float | None = None,
    ) -> None:
        self._model, self._effort, self._gop, self._device = model, effort, gop, device
        self._quality, self._bpp = quality or (model.qualities + 1) // 2, bpp
        self._since_key = 0
        self._control: RateControl | None = None

    def shape(self, source: StreamShape) -> StreamShape:
        return source

    def demands(self, source: StreamShape) -> list[Demand]:
        def given(width: int, height: int) -> tuple[Tensor]:
            return (torch.rand(3, height, width, device=self._device),)

        def run(picture: Tensor) -> None:
            self._model.reset()
            if not self._model.codes_keys:
                self._model.refer_to(picture)
            self._model.compress(picture, self._quality)
            self._model.reset()

        at_once: Measured = measured(given, run, ((96, 64), (192, 128)), torch.device(self._device))
        held = (4.0 * 12 + KEY_BYTES) * source.width * source.height
        return [Demand("encode", held, at_once=at_once, width=source.width, height=source.height)]

    def push(self, frame: Frame) -> Iterator[Chunk]:
        held = format_for(frame.format)
        if held != frame.format:
            frame = frame.converted(held, frame.colour)
        is_key = self._since_key == 0 or self._since_key == self._gop or frame.starts_scene
        self._since_key = 1 if is_key else self._since_key + 1
        self._model.levels = 2**held.bits - 1
        if is_key:
            self._model.reset()
        if self._bpp is not None:
            if self._control is None:
                self._control = RateControl(
                    self._bpp * frame.width * frame.height * self._gop, self._gop, self._model.qualities
                )
            if is_key:
                self._control.begin()
            self._quality = self._control.quality
        picture = self._key(frame) if is_key and not self._model.codes_keys else self._coded(frame, is_key)
        data = picture.pack()
        if self._control is not None:
            self._control.spend(8 * len(data), is_key)
        yield Chunk(frame.time, frame.duration, is_key, data)

    def flush(self) -> Iterator[Chunk]:
        self._since_key = 0
        return iter(())

    def _key(self, frame: Frame) -> Picture:
        crf = crf_for(self._model.trade_off(self._quality)) - KEY_BONUS
        intra = best_for(frame.format, frame.height, frame.width)
        data = encode_picture(frame.planes, frame.format, crf, intra, self._effort)
        planes = decode_picture(data, frame.format, frame.height, frame.width, intra)
        picture = referred(planes, frame.format, frame.colour, self._model.levels)
        self._model.refer_to(picture.to(self._device))
        return Picture(intra.how, True, checksum(picture, self._model.levels), data)

    def _coded(self, frame: Frame, is_key: bool) -> Picture:
        picture = frame.rgb.to(self._device)
        data = self._model.compress(picture, self._quality, self._effort)
        return Picture(BY_MODEL, is_key, checksum(self._model.decoded, self._model.levels), data)


class CodedPictures:
    """Decodes the pictures of a file. A `PictureDecoder`.

    model   the codec that made the file; None: the one of its name

    Raises VideoError if its codec is not here, WeightsError if its weights are not.
    """

    def __init__(self, stream: CodedStream, path: Path, model: Codec | None = None) -> None:
        self._stream = stream
        self._model = model or cast(Codec, create_model(stream.model, weights=_weights(stream, path)).eval())
        self._model.levels = 2**stream.format.bits - 1

    def planes(self, coded: CodedPicture) -> tuple[tuple[np.ndarray, ...], bool]:
        """See `PictureDecoder`. Raises VideoError for a picture that the codec cannot have made."""
        stream, model = self._stream, self._model
        if coded.is_key:
            model.reset()
        if coded.planes is not None:
            picture = referred(coded.planes, stream.format, stream.colour, model.levels)
            model.refer_to(picture)
            return coded.planes, self._is_noted(coded, picture)
        try:
            picture = model.decompress(coded.data)
        except ValueError as error:
            raise VideoError(
                f"a picture at {float(coded.time):.3f} s is not one of {stream.model}'s: {error}"
            ) from error
        return from_rgb(picture.cpu(), stream.format, stream.colour), self._is_noted(coded, picture)

    def _is_noted(self, coded: CodedPicture, picture: Tensor) -> bool:
        return coded.checksum is None or coded.checksum == checksum(picture, self._model.levels)


def referred(planes: tuple[np.ndarray, ...], held: PixelFormat, colour: Colour, levels: int) -> Tensor:
    """A decoded key picture as the codec refers to it: RGB in [0, 1], multiples of 1 / levels. -> [3, H, W]"""
    return to_rgb(planes, held, colour).clamp_(0, 1).mul_(levels).round_().div_(levels)


def checksum(picture: Tensor, levels: int) -> int:
    """CRC-32 of a decoded picture. [3, H, W], multiples of 1 / levels"""
    codes = picture.mul(levels).round().clamp(0, levels).cpu().numpy()
    return picture_checksum(codes.astype(np.uint8 if levels < 256 else np.uint16))


def _weights(stream: CodedStream, path: Path) -> str | Path | None:
    """The weights that a file was made with."""
    if stream.model not in MODELS:
        raise VideoError(f"{path}: was made by {stream.model}, which this refilm does not have")
    found = find_weights(stream.model, stream.weights, (path.parent, Path()))
    if found is None and stream.weights is not None:
        raise WeightsError(
            f"{path}: was made with the weights {stream.weights}, which are not here; put that file beside it, or into "
            "the current folder"
        )
    return found
