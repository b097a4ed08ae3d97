"""Colour tags as a file carries them, numbers of ITU-T H.273, and their names in FFmpeg's words."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

MATRICES = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    14: "ictcp",
}
RANGES = {1: "tv", 2: "pc"}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFERS = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
HDR_TRANSFERS = (16, 18)  # PQ and HLG
# FFmpeg's AVChromaLocation, which is H.273's number and 1
CHROMA_LOCATIONS = {1: "left", 2: "center", 3: "topleft", 4: "top", 5: "bottomleft", 6: "bottom"}
UNSPECIFIED = 2  # for all but the range, and the chroma location, whose "unspecified" is 0


@dataclass(frozen=True)
class ColourTags:
    """What a source says about its colours; its output says the same, unless RGB becomes YUV or back."""

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    chroma_location: int = 0

    def named(self) -> dict[str, str | None]:
        """The tags as words; None where the file is silent. An unknown number stays one, for the error to name."""
        unspecified = (None, UNSPECIFIED)

        def name(table: dict[int, str], number: int) -> str | None:
            return None if number in unspecified else table.get(number, str(number))

        return {
            "matrix": name(MATRICES, self.matrix),
            "range": RANGES.get(self.range),
            "primaries": name(PRIMARIES, self.primaries),
            "transfer": name(TRANSFERS, self.transfer),
            "chroma_location": CHROMA_LOCATIONS.get(self.chroma_location),
        }


@dataclass(frozen=True)
class MasteringDisplay:
    """The display that an HDR film was graded on (SMPTE ST 2086).

    red, green, blue, white   (x, y) in CIE 1931
    darkest, brightest        cd/m2
    """

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    darkest: Fraction
    brightest: Fraction

    @classmethod
    def read(cls, data: bytes) -> MasteringDisplay | None:
        """From FFmpeg's AVMasteringDisplayMetadata; None if one half, colours or luminance, is missing."""
        *numbers, has_primaries, has_luminance = struct.unpack("=22i", data)
        if not (has_primaries and has_luminance) or not all(numbers[1::2]):
            return None
        values = [Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        red, green, blue, white, (darkest, brightest) = zip(values[::2], values[1::2], strict=True)
        return cls(red, green, blue, white, darkest, brightest)


@dataclass(frozen=True)
class ContentLight:
    """How bright an HDR film gets (CTA-861.3): its brightest pixel, and the mean of its brightest frame, cd/m2."""

    brightest_pixel: int
    brightest_frame: int

    @classmethod
    def read(cls, data: bytes) -> ContentLight:
        """From FFmpeg's AVContentLightMetadata."""
        return cls(*struct.unpack("=2I", data))
