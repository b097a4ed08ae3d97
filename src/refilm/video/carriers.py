"""How packets of a source's other streams reach the output: copied, or converted if its container cannot hold them.

A carrier belongs to one stream of the output. It takes packets of the source, whose times have been set right, and
gives packets for the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol, cast

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec import Codec
from av.container import OutputContainer
from av.stream import Stream
from av.subtitles.subtitle import SubtitleSet

# The usual codec of each container for sound and for text subtitles that it cannot hold as they are.
SOUND_CODECS = {
    "mp4": "aac", "mov": "aac", "mpegts": "aac", "webm": "libopus", "matroska": "flac", "nut": "flac",
}  # fmt: skip
TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}

# Names of the codecs that users may ask for, and FFmpeg's names of their encoders; that of PCM depends on the sound.
ASKED_CODECS = {"aac": "aac", "opus": "libopus", "flac": "flac", "pcm": "pcm_s16le"}
# Codecs that lossless sound may already have where PCM is asked for: others are not the samples themselves.
_PLAIN_PCM = ("pcm_s", "pcm_f")

# Bits a second and channel: near transparent for both lossy codecs, as the sound has been through another one already.
_BIT_RATE = 96_000
# FFmpeg's usual layout for a number of channels.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# Layouts that decoders expect, from small to large: libopus refuses others, and what FFmpeg's AAC makes of them is not
# played by most browsers. Loudspeakers at the side and at the back are not told apart where there is one pair.
_USUAL_LAYOUTS = {
    "aac": ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"),
    "libopus": ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"),
}
# Seconds. Gaps of at least this length in the times of a sound are filled with silence, and overlaps are cut.
_GAP = 0.03


class Carrier(Protocol):
    stream: Any  # of the output
    damaged: int  # packets that could not be decoded

    def carry(self, packet: av.Packet) -> Iterable[av.Packet]:
        """The packets for the output that this packet of the source completes."""
        ...

    def end(self) -> Iterable[av.Packet]:
        """The remaining packets."""
        ...


class Copied:
    """Packets as they are."""

    damaged = 0

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def carry(self, packet: av.Packet) -> Iterator[av.Packet]:
        packet.stream = self.stream
        yield packet

    def end(self) -> tuple[()]:
        return ()


class EncodedSound:
    """Sound that is decoded and encoded again, at its own times: gaps become silence, so that it stays synchronous.

    Raises ValueError, KeyError or FFmpegError if the encoder does not take the sound.
    """

    def __init__(self, original: Any, output: OutputContainer, codec: str) -> None:
        source = original.codec_context
        encoder = Codec(codec, "w")
        self.stream = cast(Any, output.add_stream(codec, rate=_rate(source.sample_rate, encoder.audio_rates)))
        self._decoder, self._encoder = source, self.stream.codec_context
        self._encoder.layout = _layout(source.layout, codec)
        self._encoder.format = _sample_format(source.format, encoder)
        if not encoder.lossless:
            self._encoder.bit_rate = _BIT_RATE * self._encoder.layout.nb_channels
        self._encoder.open()
        self._resampler: AudioResampler | None = None
        self._taken: tuple[object, ...] = ()
        self._end = Fraction(0)  # of the latest frame
        self.damaged = 0

    def carry(self, packet: av.Packet) -> Iterator[av.Packet]:
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError:
            self.damaged += 1
            return
        for frame in frames:
            yield from self._encoded(frame)

    def end(self) -> Iterator[av.Packet]:
        for frame in self._decoder.decode(None):
            yield from self._encoded(frame)
        yield from self._resampled(None)
        yield from self._marked(self._encoder.encode(None))

    def _encoded(self, frame: AudioFrame) -> Iterator[av.Packet]:
        if frame.pts is None or frame.time_base is None:  # what a decoder holds back until the end may have no time
            frame.time_base = Fraction(1, frame.sample_rate)
            frame.pts = round(self._end * frame.sample_rate)
        self._end = frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate)
        taken = frame.format.name, frame.layout.name, frame.sample_rate
        if taken != self._taken:  # at the beginning, and where the sound changes within the stream
            yield from self._resampled(None)
            self._taken = taken
            self._resampler = AudioResampler(
                self._encoder.format,
                self._encoder.layout,
                self._encoder.sample_rate,
                self._encoder.frame_size,
                {"async": "1", "min_hard_comp": str(_GAP)},
            )
        yield from self._resampled(frame)

    def _resampled(self, frame: AudioFrame | None) -> Iterator[av.Packet]:
        for part in [] if self._resampler is None else self._resampler.resample(frame):
            if part is not None:
                yield from self._marked(self._encoder.encode(part))

    def _marked(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        for packet in packets:
            packet.stream = self.stream
            yield packet


class ConvertedText:
    """Text subtitles in another codec. FFmpeg's common form in between keeps italics, bold and the like.

    Raises ValueError or FFmpegError if one of the codecs cannot be used.
    """

    def __init__(self, original: Any, output: OutputContainer, codec: str) -> None:
        self._decoder = original.codec_context
        self._decoder.open(strict=False)
        self.stream = cast(Any, output.add_stream(codec))
        self._encoder = self.stream.codec_context
        self._encoder.subtitle_header = self._decoder.subtitle_header
        self._encoder.time_base = self.stream.time_base = Fraction(1, 1000)
        self._encoder.open(strict=False)
        self.damaged = 0

    def carry(self, packet: av.Packet) -> Iterator[av.Packet]:
        try:
            shown = self._decoder.decode2(packet)
            texts = [rect.ass for rect in shown or () if rect.type in (b"ass", b"text") and rect.ass]
            made = [self._encoder.encode_subtitle(_one_line(text, shown)) for text in texts]
        except av.error.FFmpegError:
            self.damaged += 1
            return
        for new in made:
            new.pts = new.dts = packet.pts if packet.pts is not None else packet.dts
            new.duration, new.time_base, new.is_keyframe = packet.duration, packet.time_base, True
            new.stream = self.stream
            yield new

    def end(self) -> tuple[()]:
        return ()


def _one_line(text: bytes, shown: SubtitleSet) -> SubtitleSet:
    return SubtitleSet.create(text, shown.start_display_time, shown.end_display_time)


def is_sound(stream: Stream) -> bool:
    """Whether it is sound that this FFmpeg can decode."""
    return stream.type == "audio" and stream.codec_context is not None


def is_text(stream: Stream) -> bool:
    """Whether it is a subtitle of text, not of pictures, which this FFmpeg can decode."""
    return stream.type == "subtitle" and stream.codec_context is not None and stream.codec_context.codec.text_sub


def asked_encoder(asked: str, original: Any) -> str:
    """FFmpeg's name of the encoder for the sound that a user asks for. PCM gets 16 or 24 bits, as the source needs."""
    if asked == "pcm" and _bits(original.codec_context.format) > 16:
        return "pcm_s24le"
    return ASKED_CODECS[asked]


def is_in(asked: str, original: Any) -> bool:
    """Whether a sound already has the codec that a user asks for."""
    codec = original.codec_context.codec.canonical_name
    return codec.startswith(_PLAIN_PCM) if asked == "pcm" else codec == asked


def _layout(source: av.AudioLayout, codec: str) -> str:
    """The layout to encode in: the source's, or the smallest usual one of the codec that has all its channels."""
    # some sources give a number of channels only, and encoders want to know which they are
    name = _LAYOUTS[source.nb_channels] if source.name == f"{source.nb_channels} channels" else source.name
    channels = _channels(name)
    if "BL" not in channels:
        channels = {{"SL": "BL", "SR": "BR"}.get(each, each) for each in channels}
    usual = _USUAL_LAYOUTS.get(codec, ())
    if name in usual:
        return name
    return next((each for each in usual if channels <= _channels(each)), name)


def _channels(layout: str) -> set[str]:
    return {channel.name for channel in av.AudioLayout(layout).channels}


def _rate(rate: int, supported: list[int] | None) -> int:
    """The lowest rate that keeps all frequencies, else the highest."""
    if not supported or rate in supported:
        return rate
    return min((other for other in supported if other > rate), default=max(supported))


def _sample_format(source: Any, encoder: Codec) -> str:
    """The encoder's narrowest format that holds the source's samples, else its widest."""
    formats = sorted(encoder.audio_formats or [source], key=_bits)
    return str(next((held for held in formats if _bits(held) >= _bits(source)), formats[-1]).name)


def _bits(held: Any) -> int:
    """The bits of a sample format; floats count as 24."""
    return 24 if held.name.startswith(("flt", "dbl")) else 8 * int(held.bytes)
