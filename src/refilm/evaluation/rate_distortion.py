"""Evaluation of codecs: curves of quality over rate, and how many bits a codec saves at equal quality (BD-rate).

Source   BD-rate: Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, with
         piecewise cubic interpolation (PCHIP) instead of one cubic polynomial, as is usual by now.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from refilm.data.layouts import Footage
from refilm.errors import UsageError
from refilm.evaluation.metrics import psnr_db
from refilm.models.contract import Codec
from refilm.options import check_effort
from refilm.stages.coded_pictures import CodedPictures, Compress
from refilm.video import Frame, VideoInfo
from refilm.video.coded import CodedStream
from refilm.video.coded_file import CodedFile
from refilm.video.coded_writer import write_coded, write_encoded
from refilm.video.decoder import Decoder
from refilm.video.tags import ColourTags

GOP = 12
ANCHOR = "x264-veryfast-zerolatency"  # against which BD-rates are: that of the DVC paper
_MS_SSIM_SIDE = 161  # least side of a frame for its five scales
_EVERY = 4  # MS-SSIM is measured on every fourth frame


@dataclass(frozen=True)
class Point:
    """A clip at one setting of a codec.

    setting          such as "crf 30" or "quality 4"
    size             of the whole file, in bytes
    bpp              bits a pixel
    psnr_db          of RGB, mean over the frames
    ms_ssim          mean over every fourth frame; None for small ones
    encode_fps, decode_fps   frames a second, with reading and writing of the file
    psnr_by_place    mean PSNR of the first frame of all GOPs, of the second ...
    """

    setting: str
    size: int
    bpp: float
    psnr_db: float
    ms_ssim: float | None
    encode_fps: float
    decode_fps: float
    psnr_by_place: tuple[float, ...]


@dataclass(frozen=True)
class CurveFigures:
    """The figures of a clip; None where they cannot be told, as from curves that have no quality in common.

    bd_rate           bits in % more than ANCHOR at equal PSNR
    bd_rate_ms_ssim   at equal MS-SSIM
    """

    frames: int
    width: int
    height: int
    bd_rate: float | None
    bd_rate_ms_ssim: float | None


# Writes frames to a file, at the given rate.
Write = Callable[[Path, Sequence[Frame], Fraction], None]
# Reads them back.
Read = Callable[[Path], Iterator[Frame]]


@dataclass(frozen=True)
class Setting:
    """A codec at one of its settings."""

    name: str
    write: Write
    read: Read


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders, at several settings of its quality.

    quality   the option that is varied, over `values`
    """

    encoder: str
    quality: str
    values: tuple[int, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> list[Setting]:
        return [Setting(f"{self.quality} {value}", self._writer(value), _read) for value in self.values]

    def _writer(self, value: int) -> Write:
        own = {"qmin": str(value), "qmax": str(value)} if self.quality == "q" else {self.quality: str(value)}
        options = {"g": str(GOP), "keyint_min": str(GOP), "sc_threshold": "0", **self.options, **own}
        return lambda path, frames, rate: write_encoded(path, frames, self.encoder, options, rate)


def _read(path: Path) -> Iterator[Frame]:
    return (frame for frame, _ in Decoder(path, None, on_packet=lambda: None).frames(None))


def _x26(number: int, preset: str, tune: str | None) -> Encoder:
    options = {"preset": preset} | ({"tune": tune} if tune else {})
    if number == 265:
        options["x265-params"] = f"log-level=error:keyint={GOP}:min-keyint={GOP}:scenecut=0"
    return Encoder(f"libx{number}", "crf", (19, 23, 27, 31, 35, 39), options)


# ANCHOR first, since the figures of all others refer to it
BASELINES: dict[str, Encoder] = {
    **{
        f"x{number}-{preset}" + (f"-{tune}" if tune else ""): _x26(number, preset, tune)
        for number in (264, 265)
        for preset in ("veryfast", "medium")
        for tune in ("zerolatency", None)
    },
    "mpeg2": Encoder("mpeg2video", "q", (2, 4, 7, 12, 20, 31), {"b": "200M", "bf": "2"}),
}


@dataclass(frozen=True)
class RateDistortion:
    """The protocol. Whole files are written and read back, each clip at each setting.

    every   of the qualities of a learned codec, the best and each `every`-th below it are measured
    effort  with which a learned codec encodes, see `Codec.compress`
    """

    name: str = "compression-rd"
    task: str = "compression"
    baselines: Mapping[str, Encoder] = field(default_factory=lambda: BASELINES)
    beside: str | None = None
    further: tuple[str, ...] = ()
    every: int = 2
    effort: int = 0

    @property
    def description(self) -> str:
        return (
            f"whole Matroska files with a key picture each {GOP} frames; PSNR of RGB, mean over frames; BD-rate "
            f"against {ANCHOR}, a value a clip, then the mean over clips; effort {self.effort}"
        )

    def with_effort(self, effort: int) -> RateDistortion:
        """The protocol, whose name says the effort unless it is 0. Raises UsageError for an effort that is none."""
        check_effort(effort)
        return replace(self, name=_with_effort(RateDistortion.name, effort), effort=effort)

    def curve_of(self, model: str) -> str:
        """The name of a learned codec's curve."""
        return _with_effort(model, self.effort)

    def thinned(self, every: int) -> RateDistortion:
        raise UsageError("a codec is measured on every frame; leave out --every")

    def of_model(self, model: Codec, name: str, weights: str | None) -> list[Setting]:
        """A learned codec at its qualities."""
        qualities = range(model.qualities, 0, -self.every)

        def writer(quality: int) -> Write:
            def write(path: Path, frames: Sequence[Frame], rate: Fraction) -> None:
                stage = Compress(model, quality, self.effort, GOP)
                first = frames[0]
                stream = _stream_of(first, name, weights, rate)
                write_coded(path, stream, (chunk for frame in frames for chunk in stage.push(frame)))

            return write

        return [Setting(f"quality {quality}", writer(quality), _read_coded(model)) for quality in sorted(qualities)]

    def curve(self, settings: Sequence[Setting], clip: Footage) -> list[Point]:
        """A clip at each setting."""
        frames, info = _frames_of(clip)
        truth = [frame.rgb for frame in frames]
        return [_point(setting, frames, truth, info.frame_rate) for setting in settings]


def _with_effort(name: str, effort: int) -> str:
    return f"{name}-effort{effort}" if effort else name


def _read_coded(model: Codec) -> Read:
    def read(path: Path) -> Iterator[Frame]:
        file = CodedFile(path, on_packet=lambda: None)
        decoder, info = CodedPictures(file.stream, path, model), file.info
        for coded, _ in file.frames(None):
            planes, _ = decoder.planes(coded)
            yield Frame(planes, info.format, info.colour, coded.time, coded.duration)

    return read


def _stream_of(frame: Frame, model: str, weights: str | None, rate: Fraction) -> CodedStream:
    return CodedStream(
        model=model,
        weights=weights,
        width=frame.width,
        height=frame.height,
        format=frame.format,
        colour=frame.colour,
        tags=ColourTags(),
        sample_aspect_ratio=Fraction(1),
        rotation=0,
        display_matrix=None,
        frame_rate=rate,
        time_base=1 / rate,
    )


def _frames_of(clip: Footage) -> tuple[list[Frame], VideoInfo]:
    """The frames of a clip, one after another on a clock of its rate."""
    decoder = Decoder(clip.files[0], None, on_packet=lambda: None)
    tick = 1 / decoder.info.frame_rate
    frames = [
        Frame(frame.planes, frame.format, frame.colour, number * tick, tick)
        for number, (frame, _) in enumerate(decoder.frames(None))
    ]
    return frames, decoder.info


def _point(setting: Setting, frames: Sequence[Frame], truth: Sequence[Tensor], rate: Fraction) -> Point:
    """A clip at a setting. truth: the frames as RGB"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film"
        began = time.perf_counter()
        setting.write(path, frames, rate)
        encoded = time.perf_counter()
        decoded = list(setting.read(path))
        seconds = time.perf_counter() - encoded
        size = path.stat().st_size
    if len(decoded) != len(frames):
        raise RuntimeError(f"{setting.name} gave {len(decoded)} frames for {len(frames)}")
    psnr, structure = [], []
    for number, (result, frame, rgb) in enumerate(zip(decoded, frames, truth, strict=True)):
        # as the source's samples are meant, whatever a file without tags is taken for
        pair = (_rgb(result, frame), rgb)
        psnr.append(psnr_db(*pair))
        if number % _EVERY == 0 and min(frame.height, frame.width) >= _MS_SSIM_SIDE:
            structure.append(ms_ssim(*pair))
    return Point(
        setting.name,
        size,
        8 * size / (len(frames) * frames[0].width * frames[0].height),
        float(np.mean(psnr)),
        float(np.mean(structure)) if structure else None,
        len(frames) / (encoded - began),
        len(frames) / seconds,
        tuple(float(np.mean(psnr[place::GOP])) for place in range(min(GOP, len(psnr)))),
    )


def _rgb(frame: Frame, like: Frame) -> Tensor:
    return Frame(frame.planes, frame.format, like.colour, frame.time, frame.duration).rgb


def ms_ssim(result: Tensor, truth: Tensor) -> float:
    """MS-SSIM of a frame [3, H, W] in [0, 1], sides of at least 161 pixels (Wang et al., 2003)."""
    value = multiscale_structural_similarity_index_measure(
        result.clamp(0, 1)[None], truth.clamp(0, 1)[None], data_range=1.0
    )
    return float(value)


def bd_rate(rates: Sequence[float], figures: Sequence[float], of_anchor: Sequence[tuple[float, float]]) -> float | None:
    """Bits in % that a curve takes more than an anchor's at equal quality, over the qualities that both have.

    rates, figures   bits and quality of each point, in any order
    of_anchor        (bits, quality) of each point of the anchor

    -> None if there is no quality that both have
    """
    anchor_rates, anchor_figures = zip(*of_anchor, strict=True)
    low = max(min(figures), min(anchor_figures))
    high = min(max(figures), max(anchor_figures))
    if not low < high:
        return None
    means = []
    for curve_rates, curve_figures in ((rates, figures), (anchor_rates, anchor_figures)):
        order = np.argsort(curve_figures)
        places, values = np.asarray(curve_figures)[order], np.log(np.asarray(curve_rates)[order])
        rising = np.concatenate(([True], np.diff(np.maximum.accumulate(places)) > 0))
        log_rate = PchipInterpolator(places[rising], values[rising])
        means.append(float(log_rate.integrate(low, high)) / (high - low))
    return 100 * (float(np.exp(means[0] - means[1])) - 1)


def figures_of(curve: Sequence[Point], anchor: Sequence[Point], size: tuple[int, int, int]) -> CurveFigures:
    """The figures of a clip, from its curve and that of ANCHOR. size: frames, width, height"""

    def against(name: str) -> float | None:
        values, of_anchor = ([getattr(point, name) for point in each] for each in (curve, anchor))
        if None in (*values, *of_anchor):
            return None
        pairs = list(zip((point.bpp for point in anchor), of_anchor, strict=True))
        return bd_rate([point.bpp for point in curve], values, pairs)

    return CurveFigures(*size, against("psnr_db"), against("ms_ssim"))


@torch.inference_mode()
def measured(
    protocol: RateDistortion, settings: Sequence[Setting], clips: Sequence[Footage], note: Callable[[str, Point], None]
) -> dict[str, list[Point]]:
    """The curve of each clip. `note` is called with each clip's name and each point."""
    curves = {}
    for clip in clips:
        curves[clip.source] = protocol.curve(settings, clip)
        for point in curves[clip.source]:
            note(clip.source, point)
    return curves
