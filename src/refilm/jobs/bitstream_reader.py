"""The source that reads the bitstream of a learned codec."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, cast

from refilm.errors import VideoError
from refilm.jobs.bitstream import MAGIC, BitstreamSettings, records
from refilm.models import MODELS, create_model
from refilm.models.contract import Codec
from refilm.video import Bookmark, Colour, Frame, PixelFormat, ReadLosses, VideoInfo, digest, joining
from refilm.video.encoder import EncoderSettings
from refilm.video.rgb import from_rgb
from refilm.video.tags import ColourTags
from refilm.video.video_info import BITSTREAM


class BitstreamReader:
    """The frames of a bitstream, decoded by the codec that it names. A `Source`.

    Damaged pictures are detected by their checksums. Decoding then continues at the next key picture, and the pictures
    before it are counted in `losses`. Raises VideoError if the file is not a bitstream, ends within its first record,
    or needs a codec or weights that are not installed; WeightsError as `create_model`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.losses = path, ReadLosses()
        self._file = path.open("rb")
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                raise VideoError(f"{path}: is not a bitstream of refilm, or of another version of it")
            head = next(records(self._file), None)
            if head is None:
                raise VideoError(f"{path}: breaks off before its first picture")
            settings = BitstreamSettings(**{key: value for key, value in head[0].items() if key != "bytes"})
            self._pictures = list(records(self._file))
            model = create_model(settings.model, weights=_weights(settings)).eval()
        except BaseException:
            self._file.close()
            raise
        self._codec = cast(Codec, model)
        self.info = _described(path, settings, [description for description, _ in self._pictures])
        self._lost: list[tuple[int, dict[str, float]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames(0)

    def resume_at(self, bookmark: Bookmark) -> Iterator[Frame]:
        """See `Source.resume_at`. Decoding begins at the key picture before the bookmark.

        Raises VideoError if this does not give the same picture as before.
        """
        keys = [number for number, (picture, _) in enumerate(self._pictures) if picture["key"]]
        first = max((number for number in keys if number <= bookmark.index), default=0)
        for number, frame in enumerate(self._frames(first), start=first):
            if number == bookmark.index and digest(frame) != bookmark.digest:
                raise VideoError(f"{self.path}: gives another picture than before at {float(frame.time):.3f} s")
            if number >= bookmark.index:
                yield frame

    def lost_in(self, first: int, end: int | None) -> dict[str, float]:
        """See `Source.lost_in`."""
        total: dict[str, float] = {}
        while self._lost and (end is None or self._lost[0][0] < end):
            number, lost = self._lost.pop(0)
            for name, amount in lost.items() if number >= first else ():
                total[name] = total.get(name, 0.0) + amount
        return total

    def rehearse(self, settings: EncoderSettings, target: Path, format_name: str, warn: Callable[[str], None]) -> None:
        joining.rehearse(settings, self.info, target, format_name, warn)

    def join(
        self,
        pieces: Sequence[joining.Piece],
        settings: EncoderSettings,
        target: Path,
        format_name: str,
        warn: Callable[[str], None],
    ) -> None:
        joining.join(pieces, settings, self.info, target, format_name, warn, lambda: None, lambda: None)

    def _frames(self, first: int) -> Iterator[Frame]:
        """The frames from number `first` on, which must be a key picture."""
        waiting = False  # whether pictures are skipped up to the next key picture, after a damaged one
        for number, (picture, place) in enumerate(self._pictures[first:], start=first):
            self._file.seek(place)
            data = self._file.read(picture["bytes"])
            is_whole = zlib.crc32(data) == picture["crc32"]
            waiting = not is_whole or (waiting and not picture["key"])
            if waiting:
                self.losses.damaged_packets += 1
                self._lost.append((number, {"damaged_packets": 1.0}))
                continue
            if picture["key"]:
                self._codec.reset()
            rgb = self._codec.decompress(data)
            time, duration = Fraction(picture["time"]), Fraction(picture["duration"])
            planes = from_rgb(rgb, self.info.format, self.info.colour)
            yield Frame(planes, self.info.format, self.info.colour, time, duration)


def _weights(settings: BitstreamSettings) -> str | None:
    if settings.model not in MODELS:
        raise VideoError(f"this bitstream was made by {settings.model}, which this refilm does not have")
    ours = MODELS[settings.model].weights
    if settings.weights != ours:
        raise VideoError(f"this bitstream was made with the weights {settings.weights}, and here there are {ours}")
    return "default"


def _described(path: Path, settings: BitstreamSettings, pictures: Sequence[dict[str, Any]]) -> VideoInfo:
    start, duration = Fraction(settings.start_time), None
    if pictures:
        duration = Fraction(pictures[-1]["time"]) + Fraction(pictures[-1]["duration"]) - start
    held = PixelFormat(**settings.format)
    return VideoInfo(
        path=path,
        container=BITSTREAM,
        codec=settings.model,
        width=settings.width,
        height=settings.height,
        pix_fmt=held.name,
        format=held,
        tags=ColourTags(**settings.tags),
        colour=Colour(**settings.colour),
        mastering_display=None,
        content_light=None,
        not_carried=(),
        sample_aspect_ratio=Fraction(settings.sample_aspect_ratio),
        rotation=settings.rotation,
        display_matrix=None if settings.display_matrix is None else tuple(settings.display_matrix),
        interlaced=False,
        frame_rate=Fraction(settings.frame_rate),
        time_base=Fraction(settings.time_base),
        start_time=start,
        duration=duration,
        frames=len(pictures),
        alpha=False,
        video_index=0,
        others=(),
        chapters=0,
    )
