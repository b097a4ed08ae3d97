"""The common base of the sinks for video files and numbered pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from refilm.options import Encoding
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo
from refilm.video.encoder import (
    EncoderSettings,
    carries_hdr10,
    choose_codec,
    choose_pix_fmt,
    encoder_options,
    output_colour,
    reduction,
)
from refilm.video.encoder_limits import check_size, encoder_formats
from refilm.video.piece_writer import PieceWriter
from refilm.video.pixel_format import held_format
from refilm.video.purposes import misfits, purpose_of
from refilm.video.tags import HDR_TRANSFERS

HDR_BITS = 10  # that the HDR transfers are meant for, at least


@dataclass(frozen=True)
class Encoded:
    """A sink that encodes frames by one of FFmpeg's encoders, as `encoding` says. See Sink for its methods."""

    path: Path
    encoding: Encoding

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> EncoderSettings:
        wanted, purpose = self.encoding, purpose_of(self.encoding.purpose)
        codec = choose_codec(self.path, wanted.codec or purpose.codec, source.format)
        pix_fmt = choose_pix_fmt(codec, source.format, wanted.pix_fmt or _taken(codec, purpose.pix_fmt))
        crf = purpose.crf if wanted.crf is None and codec == purpose.codec else wanted.crf
        check_size(codec, pix_fmt, shape.width, shape.height, self.path)
        return EncoderSettings(
            codec=codec,
            format=pix_fmt,
            width=shape.width,
            height=shape.height,
            time_base=shape.time_base,
            frame_rate=shape.frame_rate.limit_denominator(1 << 20),
            sample_aspect_ratio=source.sample_aspect_ratio,
            tags=output_colour(source, pix_fmt)[0],
            threads=threads,
            options=encoder_options(codec, crf, wanted.preset, source) | purpose.options_of(codec, pix_fmt),
        )

    def identity(self, settings: EncoderSettings) -> dict[str, Any]:
        """All settings but the number of threads: a job that is continued keeps the number that it began with."""
        return {
            key: value if isinstance(value, dict) else str(value)
            for key, value in asdict(settings).items()
            if key != "threads"
        }

    def described(self, settings: EncoderSettings) -> dict[str, str]:
        return {"codec": settings.codec, "pix_fmt": settings.format, **settings.options}

    def memory(self, settings: EncoderSettings, source: VideoInfo) -> tuple[float, float]:
        from refilm.jobs.budget import encoder_memory, picture_bytes

        result = picture_bytes(source.format, settings.width, settings.height)
        frames = None if source.frames is None else float(source.frames * settings.frame_rate / source.frame_rate)
        return encoder_memory(settings, frames), result

    def writer(self, path: Path, settings: EncoderSettings) -> PieceWriter:
        return PieceWriter(path, settings)

    def warn_of_losses(self, settings: EncoderSettings, source: VideoInfo, warn: Callable[[str], None]) -> None:
        """Warn of what the encoder cannot carry over: transparency, HDR10 metadata and the like."""
        if self.encoding.pix_fmt is None:
            told = reduction(source.format, settings.codec, settings.format, self.path)
            if told is not None:
                warn(told)
        self.warn_of_marks(source, warn)
        for words in misfits(self.encoding.purpose, settings):
            warn(words)
        bits = held_format(settings.format).bits
        if source.tags.transfer in HDR_TRANSFERS and bits < HDR_BITS:
            warn(
                f"the source is HDR, and the output stays HDR, with {bits} bits a sample: soft light shows steps, and "
                "all looks pale in a player that knows no HDR; refilm does not turn HDR into SDR"
            )
        if (source.mastering_display or source.content_light) and not carries_hdr10(settings.codec):
            warn(f"the source's HDR10 metadata is not carried over: {settings.codec} takes none; --codec libx265 does")

    @staticmethod
    def warn_of_marks(source: VideoInfo, warn: Callable[[str], None]) -> None:
        """Warn of what no encoder carries over."""
        if source.alpha:
            warn("the transparency of the source is not carried over")
        for words in source.not_carried:
            warn(f"the source has {words}, which is not carried over")


def _taken(codec: str, pix_fmt: str | None) -> str | None:
    """A purpose's pixel format, if the encoder takes it, which the user may have named instead of the purpose's."""
    return pix_fmt if pix_fmt in encoder_formats(codec) else None
