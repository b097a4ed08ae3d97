"""Which encoder, which pixel format and which options make the packets of the output."""

from __future__ import annotations

import os
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
from refilm.video.encoder_limits import check_preset, check_quality, encoder_formats
from refilm.video.marks import x264_stereo_options
from refilm.video.picture_sequence import PictureSequence
from refilm.video.pixel_format import PixelFormat, held_format
from refilm.video.tags import ColourTags
from refilm.video.video_info import VideoInfo

# Near transparent, because the source has been through one encoder already; FFmpeg's own 23 and 28 are for delivery.
_DEFAULT_CRF = {"libx264": 17, "libx265": 19, "libvpx-vp9": 24, "libsvtav1": 24}
# Codecs whose packets are picture files, by the ending of the name.
PICTURE_CODECS = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".jpg": "mjpeg", ".jpeg": "mjpeg"}
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
    metadata: dict[str, str] = field(default_factory=dict)  # of the stream, besides the source's


def choose_codec(output: Path, codec: str | None, source: PixelFormat) -> str:
    """FFmpeg's name of the encoder asked for, or of what suits container and bit depth. VideoError for unknown ones."""
    suffix = output.suffix.lower()
    if suffix in PICTURE_CODECS or PictureSequence.of(output) is not None:
        if suffix not in PICTURE_CODECS:
            raise VideoError(
                f"{output}: pictures are written as {', '.join(PICTURE_CODECS)}, not as {suffix or 'nothing'}"
            )
        if codec not in (None, PICTURE_CODECS[suffix]):
            raise VideoError(f"{output}: the ending chooses the codec of pictures; leave out --codec {codec}")
        return PICTURE_CODECS[suffix]
    if codec is None and suffix == ".webm":
        # the first of WebM's codecs that loses least: VP9's encoder may have been built for 8 bits only
        codec = min(("libvpx-vp9", "libsvtav1"), key=lambda each: _lost(source, choose_pix_fmt(each, source, None)))
    elif codec is None:
        codec = "libx264" if source.bits == 8 else "libx265"
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
    supported = encoder_formats(codec)
    if wanted is not None:
        if supported and wanted not in supported:
            raise VideoError(f"{codec} does not encode {wanted}; it takes {', '.join(supported)}")
        try:
            held_format(wanted)
        except (VideoError, ValueError):
            raise VideoError(
                f"refilm makes no pictures in {wanted}; leave out --pix-fmt, or name one such as yuv444p10le"
            ) from None
        return wanted
    if source.name in supported or not supported:
        return source.name
    # YUV 4:2:0 is what plays everywhere; an RGB source keeps full chroma only where that costs nothing.
    shift = 0 if codec == "mjpeg" else 1
    target = source if source.kind != "rgb" else PixelFormat("yuv", "yuv", source.bits, shift, shift)

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

    taken = [name for name in supported if _can_hold(name)]
    if not taken:
        raise VideoError(
            f"{codec} encodes {', '.join(supported)} only, which refilm does not make; "
            "take another codec, such as --codec libx264"
        )
    return min(taken, key=loss)


def reduction(source: PixelFormat, codec: str, pix_fmt: str, output: Path) -> str | None:
    """What an encoding in `pix_fmt` keeps less of, with a way to keep it, for the user; None if it keeps all."""
    bits, halvings, no_colour = _lost(source, pix_fmt)
    lost = [f"{source.bits - bits} of {source.bits} bits a sample"] if bits else []
    lost += ["no colour"] if no_colour else []
    lost += ["half of the colour resolution" if halvings == 1 else "a quarter of the colour resolution"] * bool(
        halvings
    )
    if not lost:
        return None
    whole = source.name.replace("gbrp", "yuv444p")
    other = next(
        each for each in (codec, "libx264", "libx265", "ffv1") if whole in encoder_formats(each) or each == "ffv1"
    )
    way = f"--pix-fmt {whole}" if other == codec else f"--codec {other}"
    way += " and .mkv" * (other != codec and output.suffix.lower() != ".mkv")
    kept = " and ".join(lost)
    return f"the source's {source.name} is encoded as {pix_fmt}, which keeps {kept}; to keep all: {way}"


def _lost(source: PixelFormat, pix_fmt: str) -> tuple[int, int, bool]:
    """(bits a sample, halvings of the colour resolution, all colour) that a format has less than the source's."""
    held = held_format(pix_fmt)
    if "gray" in (source.kind, held.kind):
        return max(source.bits - held.bits, 0), 0, source.kind != "gray"
    halvings = max(held.chroma_w - source.chroma_w, 0) + max(held.chroma_h - source.chroma_h, 0)
    return max(source.bits - held.bits, 0), halvings, False


def encoder_options(codec: str, crf: float | None, preset: str | None, source: VideoInfo) -> dict[str, str]:
    """FFmpeg's private options for quality, speed, the source's HDR10 metadata and its stereo mode.

    VideoError for a quality or a preset that the encoder does not take.
    """
    options: dict[str, str] = {}
    if crf is None and codec in _DEFAULT_CRF:
        crf = _DEFAULT_CRF[codec]
    if crf is not None:
        check_quality(codec, crf)
        options["crf"] = f"{crf:g}"
    if preset is not None:
        check_preset(codec, preset)
        options["preset"] = preset
    if codec in _HDR10_OPTIONS:
        further = ["log-level=error"] if codec == "libx265" else []
        if codec == "libx264":
            further += x264_stereo_options(source.stereo_mode)
        if settings := further + _hdr10_options(codec, source):
            options[_HDR10_OPTIONS[codec][0]] = ":".join(settings)
    if codec == "libvpx-vp9":
        options |= {"row-mt": "1", "cpu-used": "4", "b": "0"}
    if codec == "mjpeg":
        options |= {"qmin": "2", "qmax": "2"}  # the best that it has
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
    if pix_fmt.startswith("yuvj"):  # as JPEG is read, which has no tags: full range and BT.601
        tags = replace(source.tags, matrix=5, range=2, chroma_location=2)
        return tags, guess_colour(source.width, source.height, kind, tags.named(), yuvj=True)
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
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints errors only, and no banner
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
