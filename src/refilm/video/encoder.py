"""Which encoder, which pixel format and which options make the packets of the output."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, cast

import av
from av.codec import Codec
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream

from refilm.errors import VideoError
from refilm.video.colour import Colour, guess_colour
from refilm.video.picture_sequence import PictureSequence
from refilm.video.pixel_format import PixelFormat, held_format
from refilm.video.tags import ColourTags
from refilm.video.video_info import VideoInfo

# Pixels a side: x265 4.2 writes beyond its memory when a picture is narrower than one of its blocks.
X265_SMALLEST = 64
# Near transparent, because the source has been through one encoder already; FFmpeg's own 23 and 28 are for delivery.
_DEFAULT_CRF = {"libx264": 17, "libx265": 19, "libvpx-vp9": 24, "libsvtav1": 24}
# Codecs whose packets are picture files, by the ending of a sequence's name.
_PICTURE_CODECS = {".png": "png", ".tif": "tiff", ".tiff": "tiff"}
# How each encoder spells a quality of 0 to 51 or 63.
_CRF_OPTION = {"libx264": "crf", "libx264rgb": "crf", "libx265": "crf", "libvpx-vp9": "crf", "libsvtav1": "crf"}
_PRESET_OPTION = {"libx264": "preset", "libx264rgb": "preset", "libx265": "preset", "libsvtav1": "preset"}
# Where encoders take HDR10 metadata: the option with their parameter list, its keys for the display and the lights, and
# the whole numbers in which they count: how many make 1 in CIE's x and y, and how many 1 cd/m2.
_HDR10_OPTIONS = {
    "libx264": ("x264-params", "mastering-display", "cll", 50000, 10000),
    "libx265": ("x265-params", "master-display", "max-cll", 50000, 10000),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", 1, 1),
}


@dataclass(frozen=True)
class EncoderSettings:
    """What decides the packets of the output's video stream: equal settings and equal frames give equal packets."""

    codec: str
    format: str  # pixel format handed to the encoder
    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction  # nominal; encoders use it for rate control only
    sample_aspect_ratio: Fraction
    tags: ColourTags
    threads: int  # part of the settings: x264's packets depend on it
    options: dict[str, str] = field(default_factory=dict)


def choose_codec(output: Path, codec: str | None, source: PixelFormat) -> str:
    """FFmpeg's name of the encoder asked for, or of what suits container and bit depth. VideoError for unknown ones."""
    suffix = output.suffix.lower()
    if PictureSequence.of(output) is not None:
        if suffix not in _PICTURE_CODECS:
            raise VideoError(
                f"{output}: pictures are written as {', '.join(_PICTURE_CODECS)}, not as {suffix or 'nothing'}"
            )
        if codec not in (None, _PICTURE_CODECS[suffix]):
            raise VideoError(f"{output}: the ending chooses the codec of a picture sequence; leave out --codec {codec}")
        return _PICTURE_CODECS[suffix]
    if codec is None:
        codec = "libvpx-vp9" if suffix == ".webm" else "libx264" if source.bits == 8 else "libx265"
    try:
        encoder = Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        raise VideoError(
            f"no encoder named {codec!r}; FFmpeg's names are wanted, such as libx264, libx265, ffv1"
        ) from None
    if encoder.type != "video":
        raise VideoError(f"{codec!r} encodes {encoder.type}, not video; take libx264, libx265 or ffv1")
    return encoder.name


def choose_pix_fmt(codec: str, source: PixelFormat, wanted: str | None) -> str:
    """The pixel format to encode in: the one asked for, else the source's, else the closest that loses least."""
    supported = [name.name for name in Codec(codec, "w").video_formats or ()]
    if wanted is not None:
        if supported and wanted not in supported:
            raise VideoError(f"{codec} does not encode {wanted}; it takes {', '.join(supported)}")
        return wanted
    if source.name in supported or not supported:
        return source.name
    # YUV 4:2:0 is what plays everywhere; an RGB source keeps full chroma only where that costs nothing.
    target = source if source.kind != "rgb" else PixelFormat("yuv420p", "yuv", source.bits, 1, 1)

    def loss(name: str) -> tuple[bool, ...] | tuple[int, ...]:
        held = held_format(name)
        shrinks = max(held.chroma_w - target.chroma_w, 0) + max(held.chroma_h - target.chroma_h, 0)
        grows = max(target.chroma_w - held.chroma_w, 0) + max(target.chroma_h - held.chroma_h, 0)
        converts = not (codec in ("png", "tiff", "ffv1") and held.kind == source.kind)
        return (
            converts,
            held.kind != target.kind,
            max(source.bits - held.bits, 0),
            shrinks,
            held.bits,
            grows,
            name.startswith("yuvj"),
        )

    return min((name for name in supported if _can_hold(name)), key=loss)


def encoder_options(codec: str, crf: float | None, preset: str | None, source: VideoInfo) -> dict[str, str]:
    """FFmpeg's private options for quality, speed and the source's HDR10 metadata.

    VideoError where the encoder has no such knob for quality or speed.
    """
    options: dict[str, str] = {}
    if crf is None and codec in _DEFAULT_CRF:
        crf = _DEFAULT_CRF[codec]
    if crf is not None:
        if codec not in _CRF_OPTION:
            raise VideoError(f"{codec} has no --crf; it goes with {', '.join(sorted(_CRF_OPTION))}")
        options[_CRF_OPTION[codec]] = f"{crf:g}"
    if preset is not None:
        if codec not in _PRESET_OPTION:
            raise VideoError(f"{codec} has no --preset; it goes with {', '.join(sorted(_PRESET_OPTION))}")
        options[_PRESET_OPTION[codec]] = preset
    if codec in _HDR10_OPTIONS:
        quiet = ["log-level=error"] if codec == "libx265" else []
        if settings := quiet + _hdr10_options(codec, source):
            options[_HDR10_OPTIONS[codec][0]] = ":".join(settings)
    if codec == "libvpx-vp9":
        options |= {"row-mt": "1", "cpu-used": "4", "b": "0"}
    if codec == "prores_ks":
        options["vendor"] = "apl0"
    return options


def carries_hdr10(codec: str) -> bool:
    """Whether the encoder writes what a source says of its mastering display and its brightest lights."""
    return codec in _HDR10_OPTIONS


def _hdr10_options(codec: str, source: VideoInfo) -> list[str]:
    """The source's HDR10 metadata as settings for the encoder's own parameter list."""
    _, display_key, light_key, units, unit_light = _HDR10_OPTIONS[codec]
    settings = []
    if (display := source.mastering_display) is not None:

        def pair(values: tuple[Fraction, Fraction], scale: int) -> str:
            return "({},{})".format(*(f"{float(value * scale):.9g}" for value in values))

        colours = (("G", display.green), ("B", display.blue), ("R", display.red), ("WP", display.white))
        words = "".join(f"{name}{pair(place, units)}" for name, place in colours)
        settings.append(f"{display_key}={words}L{pair((display.brightest, display.darkest), unit_light)}")
    if (light := source.content_light) is not None:
        settings.append(f"{light_key}={light.brightest_pixel},{light.brightest_frame}")
    return settings


def output_colour(source: VideoInfo, pix_fmt: str) -> tuple[ColourTags, Colour]:
    """Tags to write and the colour to compute with: the source's own, unless RGB turns into YUV or back."""
    kind = held_format(pix_fmt).kind
    if kind == source.format.kind or (kind == "gray" and source.format.kind == "yuv"):
        subsampled = held_format(pix_fmt).chroma_h > 0
        return source.tags if subsampled else replace(source.tags, chroma_location=0), source.colour
    if kind == "rgb":
        tags = ColourTags(matrix=0, range=2, primaries=source.tags.primaries, transfer=source.tags.transfer)
    else:
        tags = ColourTags(matrix=1, range=1, primaries=1, transfer=1)
    return tags, guess_colour(source.width, source.height, kind, tags.named(), yuvj=pix_fmt.startswith("yuvj"))


def add_video_stream(container: OutputContainer, settings: EncoderSettings) -> VideoStream:
    """An encoding stream, configured and not yet open: pieces and the final file describe themselves alike."""
    options = repeatable(settings.codec, settings.options)
    if settings.tags.chroma_location > 1:  # 1 is left, which is assumed where nothing is said
        options["chroma_sample_location"] = str(settings.tags.chroma_location)
    stream: Any = container.add_stream(settings.codec, rate=settings.frame_rate, options=options)
    context: Any = stream.codec_context
    context.width, context.height, context.pix_fmt = settings.width, settings.height, settings.format
    context.time_base = stream.time_base = settings.time_base
    context.sample_aspect_ratio = settings.sample_aspect_ratio
    context.colorspace, context.color_range = settings.tags.matrix, settings.tags.range
    context.color_primaries, context.color_trc = settings.tags.primaries, settings.tags.transfer
    context.thread_count = settings.threads
    # parameter sets beside the packets, as MP4 and Matroska want them
    context.flags |= Flags.global_header
    if settings.codec == "libx265" and container.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # the only one Apple's players take
    return cast(VideoStream, stream)


def repeatable(codec: str, options: dict[str, str]) -> dict[str, str]:
    """The options under which equal frames give equal packets.

    x264's macroblock tree is not repeatable with AVX-512: 12 encodings of the same 40 frames of 96x64 gave 12 streams,
    with AVX2 one. Not part of a job's settings: packets are the same on processors without AVX-512.
    """
    if codec not in ("libx264", "libx264rgb") or not _has_avx512():
        return dict(options)
    return options | {"x264-params": ":".join(filter(None, (options.get("x264-params"), "asm=avx2")))}


@cache
def _has_avx512() -> bool:
    try:
        return "avx512" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _can_hold(name: str) -> bool:
    try:
        held_format(name)
    except VideoError:
        return False
    return not name.startswith(("yuva", "gbra"))
