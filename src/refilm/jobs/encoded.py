"""The common base of the sinks for video files and numbered pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from refilm.errors import VideoError
from refilm.jobs.budget import encoder_pictures, picture_bytes
from refilm.options import Encoding
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo
from refilm.video.encoder import (
    X265_SMALLEST,
    EncoderSettings,
    carries_hdr10,
    choose_codec,
    choose_pix_fmt,
    encoder_options,
    output_colour,
)
from refilm.video.piece_writer import PieceWriter
from refilm.video.pixel_format import held_format


@dataclass(frozen=True)
class Encoded:
    """A sink that encodes frames by one of FFmpeg's encoders, as `encoding` says. See Sink for its methods."""

    path: Path
    encoding: Encoding

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> EncoderSettings:
        codec = choose_codec(self.path, self.encoding.codec, source.format)
        pix_fmt = choose_pix_fmt(codec, source.format, self.encoding.pix_fmt)
        held = held_format(pix_fmt)
        for side, name, shift in ((shape.width, "width", held.chroma_w), (shape.height, "height", held.chroma_h)):
            if side % (1 << shift) and codec in ("libx264", "libx265"):
                raise VideoError(
                    f"{codec} cannot encode {pix_fmt} with the odd {name} {side}; "
                    "add --pix-fmt yuv444p, or a codec that can: --codec ffv1 or --codec libvpx-vp9"
                )
        if codec == "libx265" and min(shape.width, shape.height) < X265_SMALLEST:
            raise VideoError(
                f"{codec} cannot be trusted with pictures below {X265_SMALLEST} pixels a side, got "
                f"{shape.width}x{shape.height}; take another codec: --codec libx264 or --codec ffv1"
            )
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
            options=encoder_options(codec, self.encoding.crf, self.encoding.preset, source),
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
        encoded = picture_bytes(held_format(settings.format), settings.width, settings.height)
        result = picture_bytes(source.format, settings.width, settings.height)
        return encoder_pictures(settings) * encoded, result

    def writer(self, path: Path, settings: EncoderSettings) -> PieceWriter:
        return PieceWriter(path, settings)

    def warn_of_losses(self, settings: EncoderSettings, source: VideoInfo, warn: Callable[[str], None]) -> None:
        """Warn of what the encoder cannot carry over: transparency, HDR10 metadata and the like."""
        if source.alpha:
            warn("the transparency of the source is not carried over")
        for words in source.not_carried:
            warn(f"the source has {words}, which is not carried over")
        if (source.mastering_display or source.content_light) and not carries_hdr10(settings.codec):
            warn(f"the source's HDR10 metadata is not carried over: {settings.codec} takes none; --codec libx265 does")
