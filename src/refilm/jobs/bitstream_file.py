"""The sink for the file of a learned codec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refilm.errors import VideoError
from refilm.jobs.encoded import Encoded
from refilm.jobs.one_file import OneFile
from refilm.jobs.source import Source
from refilm.jobs.work_folder import FinishedPiece, sync
from refilm.stages.stage import StreamShape
from refilm.video import VideoInfo
from refilm.video.coded import CARRIER, SUFFIX, TAG, CodedStream, mark_as_coded
from refilm.video.companions import StreamPolicy
from refilm.video.encoder import EncoderSettings, output_colour, reduction
from refilm.video.joining import Piece
from refilm.video.key_pictures import FORMATS_OF, format_for
from refilm.video.piece_writer import CodedPieceWriter
from refilm.video.pixel_format import YUV420P

_CONTAINER = "matroska"


@dataclass(frozen=True)
class BitstreamFile(OneFile):
    """A file that the codec `model` decodes, with the weight file of that name; None: without weights.

    It has the source's sound, subtitles, chapters, attachments and metadata.

    drop_streams   whether what it cannot hold is left out
    """

    model: str
    weights: str | None = None
    drop_streams: bool = False

    def check(self, source: Path, overwrite: bool) -> None:
        super().check(source, overwrite)
        if self.path.suffix.lower() != SUFFIX:
            raise VideoError(f"{self.path}: the file of a learned codec ends in {SUFFIX}; name it so")

    @property
    def policy(self) -> StreamPolicy:
        return StreamPolicy(drop_streams=self.drop_streams, elsewhere=False)

    def settings(self, source: VideoInfo, shape: StreamShape, threads: int) -> EncoderSettings:
        """Of the packets in the container, not of the codec, which is the stage's."""
        held = format_for(source.format)
        tags, colour = output_colour(source, held.name)
        stream = CodedStream(
            model=self.model,
            weights=self.weights,
            width=shape.width,
            height=shape.height,
            format=held,
            colour=colour,
            tags=tags,
            sample_aspect_ratio=source.sample_aspect_ratio,
            rotation=source.rotation,
            display_matrix=source.display_matrix,
            frame_rate=shape.frame_rate,
            time_base=shape.time_base,
        )
        return EncoderSettings(
            codec=CARRIER,
            format=YUV420P.name,
            width=shape.width,
            height=shape.height,
            time_base=shape.time_base,
            frame_rate=shape.frame_rate.limit_denominator(1 << 20),
            sample_aspect_ratio=source.sample_aspect_ratio,
            tags=tags,
            threads=1,
            metadata={TAG: stream.to_json()},
        )

    def identity(self, settings: EncoderSettings) -> dict[str, Any]:
        return {"stream": settings.metadata[TAG], "drop_streams": self.drop_streams}

    def described(self, settings: EncoderSettings) -> dict[str, str]:
        return {"format": "refilm bitstream", "model": self.model}

    def memory(self, settings: EncoderSettings, source: VideoInfo) -> tuple[float, float]:
        """Coded pictures need hardly any memory, compared with frames."""
        return 0.0, 0.0

    def rehearse(self, settings: EncoderSettings, source: Source, folder: Path, warn: Callable[[str], None]) -> None:
        told = reduction(source.info.format, FORMATS_OF, format_for(source.info.format).name, self.path)
        if told is not None:
            warn(told.partition("; to keep all")[0])
        Encoded.warn_of_marks(source.info, warn)
        if source.info.mastering_display or source.info.content_light:
            warn("the source's HDR10 metadata is not carried over")
        source.rehearse(settings, self.policy, folder / f"trial{SUFFIX}", _CONTAINER, warn)

    def writer(self, path: Path, settings: EncoderSettings) -> CodedPieceWriter:
        return CodedPieceWriter(path, settings)

    def join(
        self,
        pieces: Sequence[tuple[Path, FinishedPiece]],
        settings: EncoderSettings,
        source: Source,
        target: Path,
        warn: Callable[[str], None],
    ) -> float | None:
        parts = [Piece(path, piece.pts, piece.durations) for path, piece in pieces if piece.pts]
        drift = source.join(parts, settings, self.policy, target, _CONTAINER, warn)
        mark_as_coded(target)
        sync(target)
        return drift
