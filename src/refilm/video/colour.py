"""What sample values mean, and what is assumed where a file does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """How sample values map to light, in FFmpeg's words; every field is resolved, never "unknown"."""

    matrix: str = "bt709"  # bt709, smpte170m, bt470bg, bt2020nc, smpte240m, fcc, rgb
    range: str = "tv"  # "tv" (limited) or "pc" (full)
    primaries: str = "bt709"
    transfer: str = "bt709"
    chroma_location: str = "left"  # left, center, topleft: where a subsampled chroma sample sits


def guess_colour(
    width: int, height: int, kind: str, tagged: Mapping[str, str | None] | None = None, *, yuvj: bool = False
) -> Colour:
    """How to read a file's samples, whatever it says or fails to say about them.

    kind     the pixel format's: "yuv", "rgb" or "gray"
    tagged   what the file says: the fields of Colour in FFmpeg's words; missing, None and "unknown" mean untagged
    yuvj     the format is one of FFmpeg's yuvj*, full range by name (and JPEG's: chroma in the centre)

    Tags win. What is missing is what players assume: the matrix follows the primaries where those are tagged;
    otherwise HD (1280 wide or more, or more than 576 lines; mpv's rule) is bt709, 576 lines are PAL (bt470bg), the
    rest is NTSC (smpte170m). YUV is limited range, RGB and gray full range (swscale's rule). Chroma is on the left as
    in MPEG-2 and H.264. Primaries and transfer follow the matrix. A tag that contradicts the samples, an RGB matrix
    on YUV planes, counts as missing.

    The result is for computing only. The output file gets the input's own tags, and none where the input has none.
    """
    tags = {field: _ALIASES.get(tag, tag) for field, tag in (tagged or {}).items() if tag and tag not in _UNTAGGED}
    if unknown := set(tags) - {"matrix", "range", "primaries", "transfer", "chroma_location"}:
        raise ValueError(f"tagged may hold the fields of Colour, got {sorted(unknown)}")

    if kind == "rgb":
        matrix = "rgb"
    elif tags.get("matrix") not in (None, "rgb"):
        matrix = tags["matrix"]
    elif tags.get("primaries") in _MATRIX_OF_PRIMARIES:
        matrix = _MATRIX_OF_PRIMARIES[tags["primaries"]]
    elif width >= 1280 or height > 576:
        matrix = "bt709"
    else:
        matrix = "bt470bg" if height == 576 else "smpte170m"

    primaries, transfer = _LIGHT_OF_MATRIX.get(matrix, ("bt709", "bt709"))
    return Colour(
        matrix=matrix,
        range=tags.get("range", "tv" if kind == "yuv" and not yuvj else "pc"),
        primaries=tags.get("primaries", primaries),
        transfer=tags.get("transfer", transfer),
        chroma_location=tags.get("chroma_location", "center" if yuvj else "left"),
    )


_UNTAGGED = {"unknown", "unspecified", "reserved"}
# FFmpeg has several words for some values
_ALIASES = {"gbr": "rgb", "mpeg": "tv", "limited": "tv", "jpeg": "pc", "full": "pc"}
_MATRIX_OF_PRIMARIES = {
    "bt709": "bt709",
    "bt2020": "bt2020nc",
    "smpte170m": "smpte170m",
    "bt470bg": "bt470bg",
    "smpte240m": "smpte240m",
    "bt470m": "fcc",
}
# (primaries, transfer) that go with a matrix
_LIGHT_OF_MATRIX = {
    "smpte170m": ("smpte170m", "smpte170m"),
    "bt470bg": ("bt470bg", "smpte170m"),
    "bt2020nc": ("bt2020", "bt2020-10"),
    "smpte240m": ("smpte240m", "smpte240m"),
    "fcc": ("bt470m", "gamma22"),
    "rgb": ("bt709", "iec61966-2-1"),
}
