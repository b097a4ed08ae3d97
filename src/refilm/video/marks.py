"""Marks of a film that tell players how to show its pictures, and lie beside the samples: each is carried or named."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import cast

from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

# What no encoder or container here takes; FFmpeg's names of what it finds in the first frames.
_NOT_CARRIED = {
    "A53_CC": "closed captions inside the picture stream",
    "DYNAMIC_HDR_PLUS": "dynamic HDR10+ metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "SPHERICAL": "the mark of a 360 degree video",
    "ICC_PROFILE": "an ICC colour profile",
    "S12M_TIMECODE": "time code in its frames",
}
# What may begin in the middle of a film, and the field of ReadLosses that counts its frames.
_BEGIN_LATER = {"A53_CC": "captions", "DYNAMIC_HDR_PLUS": "dynamic_hdr", "DOVI_METADATA": "dynamic_hdr"}
_MAY_GIVE_EXIF = {"apng", "mjpeg", "png", "tiff", "webp"}
# Matroska's names of how the pictures of two eyes share a frame, by FFmpeg's AVStereo3DType; left eye first, and right.
_STEREO_MODES = {
    1: ("left_right", "right_left"),
    2: ("top_bottom", "bottom_top"),
    3: ("block_lr", "block_rl"),
    4: ("checkerboard_lr", "checkerboard_rl"),
    6: ("row_interleaved_lr", "row_interleaved_rl"),
    7: ("col_interleaved_lr", "col_interleaved_rl"),
}
# The modes that x264 writes into its packets, and its numbers of them.
_X264_MODES = {
    "checkerboard_lr": 0, "col_interleaved_lr": 1, "row_interleaved_lr": 2, "left_right": 3, "top_bottom": 4,
    "block_lr": 5,
}  # fmt: skip
# Bytes of the movie box that are looked at.
_LARGEST_BOX = 1 << 26
_WEBM_MODES = ("left_right", "right_left", "top_bottom", "bottom_top")
# What players without Dolby Vision show, by dv_bl_signal_compatibility_id.
_WITHOUT_DOLBY_VISION = {1: "HDR10", 2: "SDR", 4: "HLG", 6: "HDR10"}


def not_carried(beside: Mapping[str, bytes], header: bytes, extradata: bytes, movie_box: bytes) -> tuple[str, ...]:
    """What is lost when the pictures are encoded again and sound is copied, in words.

    beside      what lies beside the samples in the first frames, by FFmpeg's names
    header      of a Matroska file with the stream
    extradata   of the stream, for HEVC
    movie_box   of the file, see `movie_box`
    """
    named = {name: words for name, words in _NOT_CARRIED.items() if name in beside}
    if (words := _dolby_vision(header)) is not None:
        named["DOVI_METADATA"] = words
    if _is_layered(extradata) or b"lhvC" in movie_box:
        named["LAYERS"] = "a second layer of pictures (transparency, or the other eye)"
    if b"SA3D" in movie_box:
        named["SA3D"] = "the mark of ambisonic sound"
    return tuple(named.values())


def beside_samples(picture: VideoFrame, codec: str) -> list[SideData]:
    """What lies beside the samples of a picture that was decoded from `codec`, FFmpeg's name.

    Nothing for codecs of picture files: they may give EXIF, which PyAV 18 does not know, and then crashes.
    """
    if codec in _MAY_GIVE_EXIF:
        return []
    return list(cast(Iterable[SideData], picture.side_data))  # PyAV types it as a mapping of its values


def begun_later(picture: VideoFrame, codec: str, told: Sequence[str]) -> set[str]:
    """The fields of ReadLosses for what lies beside a picture and was not `told` of the first ones."""
    names = {data.type.name for data in beside_samples(picture, codec)}
    found = ((field, _NOT_CARRIED[name]) for name, field in _BEGIN_LATER.items() if name in names)
    return {field for field, words in found if not any(each.startswith(words) for each in told)}


def _dolby_vision(header: bytes) -> str | None:
    """What Dolby Vision's configuration record says; None without one.

    Source: Dolby Vision Streams Within the ISO Base Media File Format, section 3.2.
    """
    # BlockAddIDType and BlockAddIDExtraData of Matroska
    found = re.search(rb"\x41\xe7\x84dv[cvw]C\x41\xed\x98(.{24})", header, re.DOTALL)
    if found is None:
        return None
    profile, fallback = found[1][2] >> 1, _WITHOUT_DOLBY_VISION.get(found[1][4] >> 4)
    if fallback is None:
        meaning = "its colours are wrong without it: make HDR10 of it first, by FFmpeg's filter libplacebo"
    else:
        meaning = f"what remains is {fallback}"
    return f"Dolby Vision metadata of profile {profile} ({meaning})"


def _is_layered(extradata: bytes) -> bool:
    """Whether HEVC's configuration record (ISO/IEC 14496-15, 8.3.2.1) has parameter sets of other layers than 0."""
    try:
        place = 23
        for _ in range(extradata[22] if extradata[:1] == b"\x01" else 0):
            (count,) = struct.unpack_from(">H", extradata, place + 1)
            place += 3
            for _ in range(count):
                length, unit = struct.unpack_from(">HH", extradata, place)
                if unit >> 3 & 63:
                    return True
                place += 2 + length
    except (IndexError, struct.error):
        pass  # cut off
    return False


def movie_box(path: Path) -> bytes:
    """The box of an MP4 or QuickTime file that describes its streams; b"" if there is none."""
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8:
            size, kind = struct.unpack(">I4s", head[:8])
            if size == 1 and len(head) == 16:  # the size follows, in 64 bits
                (size,) = struct.unpack(">Q", head[8:])
            if kind == b"moov":
                return head[8:] + file.read(min(size, _LARGEST_BOX) - len(head)) if size >= len(head) else b""
            if size < 8:  # the last box
                break
            file.seek(size - len(head), os.SEEK_CUR)
    return b""


def has_alpha_beside(metadata: Mapping[str, str]) -> bool:
    """Whether Matroska says that packets have transparency beside them, which decoders leave alone."""
    return metadata.get("alpha_mode") == "1"


def stereo_mode(metadata: Mapping[str, str], beside: Mapping[str, bytes]) -> str | None:
    """Matroska's name of how two eyes share a frame, "unknown" if it has none; None for a film for one eye."""
    if "stereo_mode" in metadata:
        return None if metadata["stereo_mode"] == "mono" else metadata["stereo_mode"]
    if "STEREO3D" not in beside:
        return None
    kind, flags = struct.unpack_from("=2i", beside["STEREO3D"])
    return None if kind == 0 else _STEREO_MODES.get(kind, ("unknown", "unknown"))[flags & 1]


def x264_stereo_options(mode: str | None) -> list[str]:
    """The setting of x264 that writes the mode into its packets, where it has one."""
    return [f"frame-packing={_X264_MODES[mode]}"] if mode in _X264_MODES else []


def mark(
    metadata: MutableMapping[str, str], mode: str | None, codec: str, format_name: str, warn: Callable[[str], None]
) -> None:
    """Make the metadata of the output's video stream say what is true of it, and warn of a stereo mode that is lost.

    mode   the source's, see `stereo_mode`
    """
    for key in [key for key in metadata if key.lower() in ("alpha_mode", "stereo_mode")]:
        del metadata[key]
    takes_mode = format_name == "matroska" or (format_name == "webm" and mode in _WEBM_MODES)
    if mode not in (None, "unknown") and takes_mode:
        metadata["stereo_mode"] = str(mode)
    elif mode is not None and not (codec == "libx264" and x264_stereo_options(mode)):
        warn("the source has the mark of a stereoscopic video, which is not carried over")
