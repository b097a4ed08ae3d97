"""The sizes, qualities and presets that encoders take, so that others are refused before the work.

Encoders themselves round what they do not take, or say so in words that do not help.
"""

from __future__ import annotations

from pathlib import Path

from av.codec import Codec

from refilm.errors import VideoError
from refilm.video.pixel_format import held_format

# Of x264 and x265, from fast to slow.
PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
# Pixels a side: x265 4.2 writes beyond its memory when a picture is narrower than one of its blocks.
X265_SMALLEST = 64
# Pixels of width and height. x265 and VP9 were found to take 20000 and more, and FFmpeg to decode it.
LARGEST = {"libx264": (16384, 16384), "libx264rgb": (16384, 16384), "libsvtav1": (16384, 8704)}
_TAKE_LARGER = ("libx265", "libvpx-vp9", "ffv1")
# The worst quality, and whether it must be a whole number; the best is 0.
_QUALITIES = {
    "libx264": (51, False),
    "libx264rgb": (51, False),
    "libx265": (51, False),
    "libvpx-vp9": (63, True),
    "libsvtav1": (63, True),
}
_PRESETS = {
    "libx264": PRESETS,
    "libx264rgb": PRESETS,
    "libx265": PRESETS,
    "libsvtav1": tuple(map(str, range(-1, 14))),
}


def check_size(codec: str, pix_fmt: str, width: int, height: int, output: Path) -> None:
    """Raises VideoError, with a way out, for a picture that the encoder does not take."""
    held = held_format(pix_fmt)
    for side, name, shift in ((width, "width", held.chroma_w), (height, "height", held.chroma_h)):
        if side % (1 << shift) and codec in ("libx264", "libx265"):
            raise VideoError(
                f"{codec} cannot encode {pix_fmt} with the odd {name} {side}; "
                "add --pix-fmt yuv444p, or a codec that can: --codec ffv1 or --codec libvpx-vp9"
            )
    if codec == "libx265" and min(width, height) < X265_SMALLEST:
        raise VideoError(
            f"{codec} cannot be trusted with pictures below {X265_SMALLEST} pixels a side, got "
            f"{width}x{height}; take another codec: --codec libx264 or --codec ffv1"
        )
    widest, highest = LARGEST.get(codec, (width, height))
    if width > widest or height > highest:
        others = _TAKE_LARGER[1:2] if output.suffix.lower() == ".webm" else _TAKE_LARGER
        other = next((each for each in others if pix_fmt in encoder_formats(each)), others[-1])
        raise VideoError(
            f"{codec} takes pictures of up to {widest}x{highest} pixels, got {width}x{height}; "
            f"take a codec that can: --codec {other}"
        )


def encoder_formats(codec: str) -> list[str]:
    """FFmpeg's names of the pixel formats that an encoder is given; empty where it does not say which it takes."""
    names = [each.name for each in Codec(codec, "w").video_formats or ()]
    if codec == "mjpeg":  # of its other formats, it takes those of full range only
        return [name for name in names if name.startswith("yuvj")]
    # programs do not agree about the range of YUV in TIFF
    return [name for name in names if codec != "tiff" or not name.startswith("yuv")]


def check_quality(codec: str, crf: float) -> None:
    """Raises VideoError for a --crf that the encoder does not take as it is."""
    if codec not in _QUALITIES:
        raise VideoError(f"{codec} has no --crf; it goes with {', '.join(sorted(_QUALITIES))}")
    worst, is_whole = _QUALITIES[codec]
    if not 0 <= crf <= worst or (is_whole and crf != int(crf)):
        number = "a whole number" if is_whole else "a number"
        raise VideoError(f"--crf of {codec} is {number} from 0, the best quality, to {worst}; got {crf:g}")


def check_preset(codec: str, preset: str) -> None:
    """Raises VideoError for a --preset that the encoder does not have."""
    if codec not in _PRESETS:
        raise VideoError(f"{codec} has no --preset; it goes with {', '.join(sorted(_PRESETS))}")
    if preset not in _PRESETS[codec]:
        raise VideoError(f"--preset of {codec} is one of {', '.join(_PRESETS[codec])}; got {preset}")
