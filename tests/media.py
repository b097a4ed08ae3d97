"""Test media: small files that are difficult in one known way each, and FFmpeg's own verdict on any file.

`CLIPS` and `BROKEN` name the files; the fixtures `media` and `broken` of conftest.py write them on demand:
`media("vfr").path`. What a `Media` expects was put into the file on purpose, packet by packet; test_media.py has
ffprobe confirm it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.video.stream import VideoStream

SECOND = Fraction(1)
MILLISECOND = Fraction(1, 1000)  # Matroska's clock
NTSC = Fraction(30000, 1001)
AUDIO_RATE = 48000
# A picture of one pixel, for attachments
COVER_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf500f000301010018dd8db0"
    "0000000049454e44ae426082"
)


@dataclass(frozen=True)
class Tags:
    """Colour tags as numbers of ITU-T H.273; the defaults are what an untagged file has."""

    matrix: int = 2
    range: int = 0
    primaries: int = 2
    transfer: int = 2

    def ffprobe(self) -> dict[str, str]:
        """The same in ffprobe's words; no entry where the file is silent."""
        words = {
            "color_space": {0: "gbr", 1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020nc"}.get(self.matrix),
            "color_range": {1: "tv", 2: "pc"}.get(self.range),
            "color_primaries": {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020"}.get(self.primaries),
            "color_transfer": {1: "bt709", 6: "smpte170m", 14: "bt2020-10", 16: "smpte2084", 18: "arib-std-b67"}.get(
                self.transfer
            ),
        }
        return {key: word for key, word in words.items() if word}


BT601 = Tags(matrix=6, range=1, primaries=6, transfer=6)
BT709 = Tags(matrix=1, range=1, primaries=1, transfer=1)
BT2020 = Tags(matrix=9, range=1, primaries=9, transfer=14)
PQ, HLG = replace(BT2020, transfer=16), replace(BT2020, transfer=18)


@dataclass(frozen=True)
class Clip:
    """What to write.

    suffix      of the file; chooses the container
    times       of the frames to encode, seconds, rising; those before `first_shown` are hidden by the edit list
    last        duration of the last frame, seconds
    scenes      the frame numbers at which another scene begins
    pictures    for each frame, the numbers of the pictures that its upper and its lower lines show; () for its own
    audio       language of each audio stream
    audio_codec FFmpeg's name of their encoder
    subtitles, chapters   (start, end, text), seconds
    attachments           (file name, MIME type, contents)
    muxer       options of the container
    """

    suffix: str = ".mp4"
    times: tuple[Fraction, ...] = tuple(Fraction(k, 24) for k in range(24))
    last: Fraction = Fraction(1, 24)
    first_shown: Fraction | None = None
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    width: int = 96
    height: int = 64
    tags: Tags = BT709
    sample_aspect_ratio: Fraction = SECOND
    rotation: int = 0
    scenes: tuple[int, ...] = ()
    pictures: tuple[tuple[int, int], ...] = ()
    audio: tuple[str, ...] = ()
    audio_codec: str = "aac"
    subtitles: tuple[tuple[Fraction, Fraction, str], ...] = ()
    chapters: tuple[tuple[Fraction, Fraction, str], ...] = ()
    attachments: tuple[tuple[str, str, bytes], ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)

    @property
    def time_base(self) -> Fraction:
        """The file's clock: AVI counts frames, Matroska's is coarse, MP4 gets one that holds every time exactly."""
        if self.suffix == ".mkv":
            return MILLISECOND
        if self.suffix == ".ts":
            return Fraction(1, 90000)
        if self.suffix == ".avi":
            return self.last
        denominator = math.lcm(*(t.denominator for t in (*self.times, self.last)))
        # the MP4 muxer doubles a clock below 10 kHz until it is above
        while denominator < 10000:
            denominator *= 2
        return Fraction(1, denominator)


@dataclass(frozen=True)
class Media:
    """A file, and what a correct reader finds in it.

    times       presentation time of each frame shown, seconds, exactly as the container stores it
    duration    of the last frame, seconds; to within a millisecond in Matroska, which leaves it out at a constant rate
    streams     (kind, codec, language) of every stream, in order; language None where the file has none
    """

    path: Path
    clip: Clip
    times: tuple[Fraction, ...]
    duration: Fraction
    streams: tuple[tuple[str, str, str | None], ...]


# --- the pictures -----------------------------------------------------------------------------------------------------


def picture(number: int, height: int, width: int, format_name: str, scene: int = 0) -> list[np.ndarray]:
    """Planes of a moving picture, in the codes of the format and over nearly their whole range.

    A smooth texture pans by 2 pixels a frame behind a disc that goes the other way; each scene has its own texture.
    Luma of frame `number` is unique at the top left: a bar of 8 squares spells the number in binary.
    """
    pixel_format = av.VideoFormat(format_name, width, height)
    planes = []
    for channel, component in enumerate(pixel_format.components):
        rng = np.random.default_rng([scene, channel])
        y, x = np.mgrid[0 : component.height, 0 : component.width].astype(np.float64)
        y, x = y * height / component.height, x * width / component.width + 2 * number
        waves = sum(
            np.sin(x * rng.uniform(-0.2, 0.2) + y * rng.uniform(-0.2, 0.2) + rng.uniform(0, 2 * np.pi))
            for _ in range(4)
        )
        plane = 0.5 + waves / 9 + (scene % 2 - 0.5) * 0.1 * (channel == 0)
        disc = (x - 2 * number - (width * 0.8 - 3 * number) % width) ** 2 + (y - height / 2) ** 2 < (height / 5) ** 2
        plane[disc] = (0.95, 0.2, 0.75)[channel % 3] if scene % 2 == 0 else (0.1, 0.7, 0.3)[channel % 3]
        if channel == 0:
            for bit in range(8):
                plane[:4, 4 * bit : 4 * bit + 4] = 0.9 if number >> bit & 1 else 0.1
        top = (1 << component.bits) - 1
        dtype = np.uint8 if component.bits == 8 else np.uint16
        planes.append((plane * top).round().clip(0, top).astype(dtype))
    return planes


def samples_hash(number: int, clip: Clip) -> str:
    """What `frame_hashes` must say of frame `number` of a lossless clip."""
    scene = sum(number >= start for start in clip.scenes)
    planes = picture(number, clip.height, clip.width, clip.pix_fmt, scene)
    return hashlib.sha256(b"".join(plane.tobytes() for plane in planes)).hexdigest()


def video_frame(planes: list[np.ndarray], format_name: str) -> av.VideoFrame:
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, format_name)
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        raw = np.ascontiguousarray(samples).view(np.uint8)
        rows[: raw.shape[0], : raw.shape[1]] = raw
    return frame


# --- the files --------------------------------------------------------------------------------------------------------


def write(path: Path, clip: Clip) -> Media:
    """Write `clip` to `path`; the same clip gives the same packets wherever the same FFmpeg libraries run."""
    with av.open(path, "w", options=clip.muxer) as container:
        container.metadata.update(clip.metadata)
        if clip.chapters:
            container.set_chapters([_chapter(k, *chapter) for k, chapter in enumerate(clip.chapters)])
        video = _add_video(container, clip)
        audio = [_add_audio(container, language, clip.audio_codec) for language in clip.audio]
        subtitle_codec = "mov_text" if clip.suffix in (".mp4", ".mov") else "subrip"
        subtitles = container.add_mux_stream(subtitle_codec) if clip.subtitles else None
        if subtitles is not None:
            subtitles.time_base = MILLISECOND
            subtitles.metadata["language"] = "eng"
        for attachment in clip.attachments:
            container.add_attachment(*attachment)
        packets = list(_video_packets(video, clip))
        seconds = clip.times[-1] + clip.last
        for number, stream in enumerate(audio):
            packets += _audio_packets(stream, 440 * (number + 1), seconds)
        packets += [_subtitle_packet(subtitles, subtitle_codec, *line) for line in clip.subtitles]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)

    names = {"libx264": "h264", "libx265": "hevc"}
    streams: list[tuple[str, str, str | None]] = [("video", names.get(clip.codec, clip.codec), None)]
    streams += [("audio", names.get(clip.audio_codec, clip.audio_codec), language) for language in clip.audio]
    streams += [("subtitle", subtitle_codec, "eng")] * bool(clip.subtitles)
    # FFmpeg reads attached pictures as video streams of one frame, and MP4's chapters as a text track as well
    streams += [
        ("video", "png", None) if "image" in kind else ("attachment", "ttf", None) for _, kind, _ in clip.attachments
    ]
    streams += [("data", "bin_data", "eng")] * (clip.suffix == ".mp4" and bool(clip.chapters))
    tick = clip.time_base
    *times, end = (on_grid(time, tick) for time in (*clip.times, clip.times[-1] + clip.last))
    duration = end - times[-1]
    if clip.first_shown is not None:
        # FFmpeg puts the first frame that is shown at the very beginning of the edit, wherever that lies in the frame
        times = [time for time in times if time >= clip.first_shown]
        times = [time - times[0] + clip.first_shown for time in times]
    return Media(path, clip, tuple(times), duration, tuple(streams))


def on_grid(time: Fraction, tick: Fraction) -> Fraction:
    """The nearest whole number of ticks, halves away from zero: FFmpeg's av_rescale."""
    ticks = math.floor(abs(time / tick) + Fraction(1, 2))
    return (ticks if time >= 0 else -ticks) * tick


def _chapter(number: int, start: Fraction, end: Fraction, title: str) -> dict[str, object]:
    return {
        "id": number + 1, "start": int(start / MILLISECOND), "end": int(end / MILLISECOND),
        "time_base": MILLISECOND, "metadata": {"title": title},
    }  # fmt: skip


def _add_video(container: OutputContainer, clip: Clip) -> VideoStream:
    gap = clip.times[1] - clip.times[0] if len(clip.times) > 1 else clip.last
    stream = container.add_stream(clip.codec, rate=1 / gap, options=clip.options)
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pix_fmt
    context = stream.codec_context
    context.time_base = stream.time_base = clip.time_base
    context.thread_count = 1
    context.sample_aspect_ratio = clip.sample_aspect_ratio
    context.colorspace, context.color_range = clip.tags.matrix, clip.tags.range
    context.color_primaries, context.color_trc = clip.tags.primaries, clip.tags.transfer
    if clip.rotation:
        stream.set_display_rotation(clip.rotation)
    return stream


def _video_packets(stream: VideoStream, clip: Clip) -> Iterator[av.Packet]:
    tick = clip.time_base
    stamps = [int(on_grid(time, tick) / tick) for time in (*clip.times, clip.times[-1] + clip.last)]
    durations = {stamp: following - stamp for stamp, following in pairwise(stamps)}
    for number, stamp in enumerate(stamps[:-1]):
        scene = sum(number >= start for start in clip.scenes)
        upper, lower = clip.pictures[number] if clip.pictures else (number, number)
        planes = picture(upper, clip.height, clip.width, clip.pix_fmt, scene)
        if lower != upper:
            for plane, other in zip(planes, picture(lower, clip.height, clip.width, clip.pix_fmt, scene), strict=True):
                plane[1::2] = other[1::2]
        frame = video_frame(planes, clip.pix_fmt)
        frame.pts, frame.time_base = stamp, tick
        frame.colorspace, frame.color_range = clip.tags.matrix, clip.tags.range
        frame.color_primaries, frame.color_trc = clip.tags.primaries, clip.tags.transfer
        yield from _with_durations(stream.encode(frame), durations)
    yield from _with_durations(stream.encode(None), durations)


def _with_durations(packets: list[av.Packet], durations: dict[int, int]) -> Iterator[av.Packet]:
    for packet in packets:
        packet.duration = durations[packet.pts]
        yield packet


def _add_audio(container: OutputContainer, language: str, codec: str = "aac") -> av.AudioStream:
    stream = container.add_stream(codec, rate=AUDIO_RATE, layout="mono")
    stream.codec_context.bit_rate = 64000
    stream.metadata["language"] = language
    return stream


def _audio_packets(stream: av.AudioStream, frequency: float, seconds: Fraction) -> Iterator[av.Packet]:
    for start in range(0, int(seconds * AUDIO_RATE), 1024):
        count = min(1024, int(seconds * AUDIO_RATE) - start)
        tone = 0.2 * np.sin(2 * np.pi * frequency / AUDIO_RATE * np.arange(start, start + count))
        frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _subtitle_packet(stream: av.stream.Stream, codec: str, start: Fraction, end: Fraction, text: str) -> av.Packet:
    """Built by hand, as both formats are plain text: mov_text's has its length in front."""
    data = text.encode()
    packet = av.Packet(len(data).to_bytes(2, "big") + data if codec == "mov_text" else data)
    packet.stream, packet.time_base, packet.is_keyframe = stream, MILLISECOND, True
    packet.pts = packet.dts = int(start / MILLISECOND)
    packet.duration = int((end - start) / MILLISECOND)
    return packet


def even(count: int, rate: Fraction | int, start: Fraction = Fraction(0)) -> tuple[Fraction, ...]:
    return tuple(start + k / Fraction(rate) for k in range(count))


def irregular(count: int, start: Fraction = Fraction(0)) -> tuple[Fraction, ...]:
    """Gaps as phones and screen recorders leave them: jitter around 1/30 s, drops, one pause, in 1/90000 s."""
    rng = np.random.default_rng(7)
    gaps = rng.choice([2970, 3000, 3003, 3060, 6000, 9009], size=count - 1)
    gaps[count // 2] = 40000
    return tuple(start + Fraction(int(ticks), 90000) for ticks in np.concatenate([[0], np.cumsum(gaps)]))


def pulled_down(count: int) -> tuple[tuple[int, int], ...]:
    """The pictures of `count` frames of telecined film: of each four pictures, five frames, two of them woven."""
    cycle = ((0, 0), (1, 1), (1, 2), (2, 3), (3, 3))
    return tuple((4 * (n // 5) + cycle[n % 5][0], 4 * (n // 5) + cycle[n % 5][1]) for n in range(count))


def on_twos(count: int) -> tuple[tuple[int, int], ...]:
    """The pictures of `count` frames that are drawn on twos: every second is there, and shown twice."""
    return tuple((n // 2 * 2, n // 2 * 2) for n in range(count))


# x264 without look-ahead and B-frames, for files in which neither matters: fast, and one packet a frame at once
_PLAIN = {"preset": "ultrafast", "tune": "zerolatency"}
_B_FRAMES = {"preset": "veryfast", "x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:keyint=12:scenecut=0"}
# Display P3 at 1000 cd/m2, in x265's words
GRADED_ON = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
_LINES = ((Fraction(1, 4), Fraction(3, 4), "First line"), (Fraction(1), Fraction(3, 2), "Second, with é and 字"))
_PARTS = ((Fraction(0), Fraction(3, 4), "One"), (Fraction(3, 4), Fraction(2), "Two"))
_WORDS = {"title": "A test clip", "artist": "refilm", "comment": "generated"}

CLIPS: dict[str, Clip] = {
    "cfr-24": Clip(options=_PLAIN),
    "cfr-ntsc": Clip(times=even(30, NTSC), last=1 / NTSC, options=_PLAIN),
    "cfr-ntsc-mkv": Clip(".mkv", times=even(30, NTSC), last=1 / NTSC, options=_PLAIN),
    "vfr": Clip(times=irregular(30), last=Fraction(1, 30), options=_PLAIN),
    "vfr-mkv": Clip(".mkv", times=irregular(30), last=Fraction(1, 30), options=_PLAIN),
    "vfr-b-frames": Clip(times=irregular(30), last=Fraction(1, 30), options=_B_FRAMES),
    "start-late": Clip(times=even(24, 24, Fraction(3, 2)), options=_PLAIN),
    "start-late-mkv": Clip(".mkv", times=even(24, 24, Fraction(3, 2)), options=_PLAIN),
    # MP4 hides what comes before 0, and Matroska cannot store it; a broadcast whose 33-bit clock wraps has it
    "start-early": Clip(
        times=even(25, 25, Fraction(-1, 10)),
        last=Fraction(1, 25),
        first_shown=Fraction(0),
        options=_PLAIN,
    ),
    "start-early-ts": Clip(
        ".ts",
        times=even(25, 25, Fraction(-1, 10)),
        last=Fraction(1, 25),
        options=_PLAIN,
        muxer={"avoid_negative_ts": "disabled", "mpegts_copyts": "1"},
    ),
    "b-frames": Clip(options=_B_FRAMES),
    "b-frames-mkv": Clip(".mkv", options=_B_FRAMES),
    # written as to a pipe: no duration, no frame count, no index
    "live-mkv": Clip(".mkv", options=_PLAIN, muxer={"live": "1"}),
    # decoding begins a quarter of a second before the first frame that is shown, as after cutting without re-encoding
    "edit-list": Clip(times=even(30, 24, Fraction(-1, 4)), first_shown=Fraction(0), options=_B_FRAMES),
    "companions": Clip(
        times=even(48, 24), options=_PLAIN, audio=("eng", "deu"), subtitles=_LINES, chapters=_PARTS, metadata=_WORDS,
    ),
    "companions-mkv": Clip(
        ".mkv", times=even(48, 24), options=_PLAIN, audio=("eng", "deu"), subtitles=_LINES, chapters=_PARTS,
        metadata=_WORDS,
        attachments=(("cover.png", "image/png", COVER_PNG), ("font.ttf", "application/x-truetype-font", b"no font")),
    ),
    "audio-late-start": Clip(times=irregular(30, SECOND), last=Fraction(1, 30), options=_PLAIN, audio=("eng",)),
    "rotated": Clip(options=_PLAIN, rotation=90),
    "anamorphic": Clip(options=_PLAIN, sample_aspect_ratio=Fraction(4, 3)),
    "anamorphic-turned": Clip(
        times=even(6, 24), options=_PLAIN, tags=BT601, sample_aspect_ratio=Fraction(10, 11), rotation=90
    ),
    "odd-444": Clip(options=_PLAIN | {"qp": "0"}, pix_fmt="yuv444p", width=97, height=55),
    "odd-420": Clip(".mkv", codec="ffv1", width=97, height=55),
    "untagged": Clip(options=_PLAIN, tags=Tags()),
    "rgb": Clip(".avi", times=even(6, 24), codec="utvideo", pix_fmt="gbrp", tags=Tags()),
    "rgb-10": Clip(".mkv", times=even(6, 24), codec="ffv1", pix_fmt="gbrp10le", tags=Tags(matrix=0, range=2)),
    "gray": Clip(".mkv", times=even(6, 24), codec="ffv1", pix_fmt="gray", tags=Tags()),
    "hdr10": Clip(
        times=even(6, 24), codec="libx265", pix_fmt="yuv420p10le", tags=PQ,
        options={"preset": "ultrafast", "x265-params": f"log-level=error:master-display={GRADED_ON}:max-cll=1000,400"},
    ),
    "hlg": Clip(
        ".mkv", times=even(6, 24), codec="libx265", pix_fmt="yuv420p10le", tags=HLG,
        options={"preset": "ultrafast", "x265-params": "log-level=error"},
    ),
    "interlaced": Clip(times=even(6, 25), last=Fraction(1, 25), options=_PLAIN | {"flags": "+ilme+ildct"}),
    "interlaced-mkv": Clip(".mkv", times=even(6, 24), codec="ffv1", options={"field_order": "tt"}),
    "two-scenes": Clip(times=even(36, 24), options=_PLAIN, scenes=(17,)),
    "one-frame": Clip(times=even(1, 24), options=_PLAIN),
}  # fmt: skip

# Every matrix x range x depth, without loss, in the codecs that are used for that
for _name, _tags in (("bt601", BT601), ("bt709", BT709), ("bt2020", BT2020)):
    for _range, _word in ((1, "tv"), (2, "pc")):
        for _bits, _pix_fmt in ((8, "yuv420p"), (10, "yuv420p10le")):
            _clip = Clip(".mkv", times=even(6, 24), pix_fmt=_pix_fmt, tags=replace(_tags, range=_range))
            CLIPS[f"{_name}-{_word}-{_bits}-ffv1"] = replace(_clip, codec="ffv1")
            CLIPS[f"{_name}-{_word}-{_bits}-h264"] = replace(_clip, options=_PLAIN | {"qp": "0"})
            CLIPS[f"{_name}-{_word}-{_bits}-hevc"] = replace(
                _clip, codec="libx265", options={"preset": "ultrafast", "x265-params": "lossless=1:log-level=none"}
            )
LOSSLESS = [name for name in CLIPS if name.endswith(("-ffv1", "-h264", "-hevc"))]


def _truncated(suffix: str) -> Callable[[Path], Path]:
    """The first 60 % of a file whose header comes first."""

    def make(folder: Path) -> Path:
        muxer = {"movflags": "faststart"} if suffix == ".mp4" else {}
        whole = write(folder / f"whole{suffix}", Clip(suffix, times=even(48, 24), options=_PLAIN, muxer=muxer)).path
        data = whole.read_bytes()
        whole.unlink()
        return _file(folder / f"truncated{suffix}", data[: len(data) * 6 // 10])

    return make


def _audio_only(folder: Path) -> Path:
    with av.open(folder / "audio.m4a", "w") as container:
        for packet in _audio_packets(_add_audio(container, "eng"), 440, SECOND):
            container.mux(packet)
    return folder / "audio.m4a"


def _without_index(folder: Path) -> Path:
    """An MP4 whose recording was interrupted: all the pictures, and nothing that says where they are."""
    whole = write(folder / "whole.mp4", CLIPS["cfr-24"]).path
    data = whole.read_bytes()
    whole.unlink()
    return _file(folder / "without-index.mp4", data[: data.index(b"moov") - 4])


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# Files that hold no video, or not all of one; each is written into a folder and its path returned.
BROKEN: dict[str, Callable[[Path], Path]] = {
    "truncated-mkv": _truncated(".mkv"),
    "truncated-mp4": _truncated(".mp4"),
    "without-index": _without_index,
    "zero-bytes": lambda folder: _file(folder / "empty.mp4", b""),
    "text": lambda folder: _file(folder / "text.mp4", b"This is not a video.\n" * 20),
    "noise": lambda folder: _file(folder / "noise.mkv", np.random.default_rng(0).bytes(20000)),
    "audio-only": _audio_only,
}


def flashes_and_beeps(path: Path, seconds: float, *options: str) -> Path:
    """A film that flashes and beeps at the same moments: from 0.48 s to 0.6 s of each second.

    options   how the ffmpeg program is to encode it
    """
    moments = "between(mod(t,1),{},{})"
    picture = f"color=black:s=96x64:r=25:d={seconds},drawbox=t=fill:c=white:enable='{moments.format(0.479, 0.599)}'"
    sound = f"aevalsrc='if({moments.format(0.48, 0.6)},sin(2*PI*1000*t)/2,0)':d={seconds}:s=48000"
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *options, str(path))
    return path


def box(kind: bytes, payload: bytes) -> bytes:
    """A box of MP4: its size, its kind and its content."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def insert_box(path: Path, entry: bytes, added: bytes) -> None:
    """Put a box at the end of the first sample entry of this kind ("avc1", "hvc1", "mp4a") of an MP4 file.

    The movie box has to be at the end of the file, so that no sample moves.
    """
    way = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", entry)
    path.write_bytes(_with_box(path.read_bytes(), way, added) or b"")


def _with_box(boxes: bytes, way: tuple[bytes, ...], added: bytes) -> bytes | None:
    """Boxes with a further one at the end of the box to which `way` leads; None if there is no such box."""
    place = 0
    while place < len(boxes):
        size, kind = struct.unpack_from(">I4s", boxes, place)
        if kind == way[0]:
            head = 16 if kind == b"stsd" else 8
            content = boxes[place + head : place + size]
            grown = content + added if len(way) == 1 else _with_box(content, way[1:], added)
            if grown is not None:
                counted = boxes[place + 8 : place + head]
                return boxes[:place] + box(kind, counted + grown) + boxes[place + size :]
        place += size
    return None


# --- FFmpeg's verdict -------------------------------------------------------------------------------------------------


def ffprobe(path: Path, *options: str) -> dict[str, list[dict[str, str]]]:
    """ffprobe's JSON; the test is skipped where the program is missing."""
    return json.loads(tool("ffprobe", "-v", "error", *options, "-of", "json", str(path)))


@dataclass(frozen=True)
class Probed:
    """What ffprobe says of a file.

    times     presentation times of the video frames it decodes and shows, seconds
    tags      colour tags of the video, in its words; no entry where the file is silent
    streams   (kind, codec, language) of every stream, as Media.streams
    video     all else it says of the video stream
    """

    times: list[Fraction]
    tags: dict[str, str]
    streams: list[tuple[str, str, str | None]]
    video: dict[str, str]


def probed(path: Path) -> Probed:
    found = ffprobe(path, "-show_streams", "-show_frames", "-show_entries", "frame=pts,stream_index")
    video = next(stream for stream in found["streams"] if stream["codec_type"] == "video")
    streams = []
    for stream in found["streams"]:
        language = stream.get("tags", {}).get("language")
        streams.append(
            (stream["codec_type"], stream.get("codec_name", "none"), None if language == "und" else language)
        )
    time_base = Fraction(video["time_base"])
    return Probed(
        times=[int(f["pts"]) * time_base for f in found["frames"] if f.get("stream_index") == video["index"]],
        tags={key: word for key, word in video.items() if key.startswith("color_") and word != "unknown"},
        streams=streams,
        video=video,
    )


def probed_times(path: Path) -> list[Fraction]:
    return probed(path).times


def probed_tags(path: Path) -> dict[str, str]:
    return probed(path).tags


def probed_streams(path: Path) -> list[tuple[str, str, str | None]]:
    return probed(path).streams


def packet_hashes(path: Path, stream: str) -> list[tuple[Fraction, str]]:
    """(time in seconds, hash of the payload) of each packet of a stream such as "a:0", in the order stored."""
    entries = "packet=pts,data_hash:stream=time_base"
    found = ffprobe(path, "-select_streams", stream, "-show_data_hash", "sha256", "-show_entries", entries)
    time_base = Fraction(found["streams"][0]["time_base"])
    return [(int(packet["pts"]) * time_base, packet["data_hash"]) for packet in found["packets"]]


def frame_hashes(path: Path, pix_fmt: str | None = None) -> list[str]:
    """A hash of the samples of every frame of the video, unrotated, as the ffmpeg program decodes it.

    pix_fmt   to compare files in different formats; None is the file's own, and the only exact choice
    """
    command = ["ffmpeg", "-v", "error", "-noautorotate", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    command += (["-pix_fmt", pix_fmt] if pix_fmt else []) + ["-f", "framehash", "-hash", "sha256", "-"]
    return [line.split(",")[-1].strip() for line in tool(*command).splitlines() if not line.startswith("#")]


def lateness(path: Path) -> list[float]:
    """By how much each beep is later than its flash, in seconds, as the ffmpeg program sees and hears them."""
    tool("ffmpeg", "-version")  # skips the test where FFmpeg is missing
    filters = ("-vf", "blackdetect=d=0.1", "-af", "silencedetect=n=-30dB:d=0.1")
    command = ["ffmpeg", "-nostats", "-copyts", "-i", str(path), *filters, "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    # the last of each is the end of the file
    *flashes, _ = (float(time) for time in re.findall(r"black_end:([0-9.]+)", told))
    *beeps, _ = (float(time) for time in re.findall(r"silence_end: ([0-9.]+)", told))
    return [beep - flash for flash, beep in zip(flashes, beeps, strict=True)]


def tool(name: str, *arguments: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"the {name} program is not installed")
    result = subprocess.run([name, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


TURNED = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 274, 3, 1, 6, 0, 0)  # EXIF that says: turn by a quarter
PROFILE = bytes(range(256)) * 600  # like a colour profile that is longer than a segment of JPEG
