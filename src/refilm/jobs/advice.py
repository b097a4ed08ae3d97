"""What a user should know about a source that is not what it seems, in words, with the way out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from refilm.stages.findings import JUDGED, Combs, Finding, Judged, Repeats
from refilm.video import VideoInfo

# Frames that must have been looked at, and the share of them that has to be so
_MOVING = 5
_REPEATED, _TELECINED, _WOVEN = 0.1, 0.25, 0.5

# Mean strength of a restoration below which it is told that little was done
_LITTLE = 0.2


def ffmpeg_command(source: Path, filters: str) -> str:
    """A command that filters the picture, nearly without loss, and keeps everything else."""
    return f"ffmpeg -i {shlex.quote(str(source))} -map 0 -c copy -c:v libx264 -crf 12 -vf {filters} OUT.mkv"


def deinterlacing(source: Path) -> str:
    return ffmpeg_command(source, "bwdif")


def pulldown_removal(source: Path) -> str:
    return ffmpeg_command(source, "fieldmatch,decimate")


def interlaced(source: VideoInfo) -> str:
    """What to do with a file that says it is interlaced."""
    film = (
        f"; or, if it is film in {float(source.frame_rate):.5g} frames a second (3:2 pulldown), remove the pulldown: "
        f"{pulldown_removal(source.path)}"
    )
    return (
        f"{source.path}: is interlaced: each frame holds two moments, line by line. Deinterlace first: "
        f"{deinterlacing(source.path)}{film if 29 < source.frame_rate < 31 else ''}; "
        "or add --force, if its frames are whole pictures"
    )


def advice(source: Path, findings: Mapping[str, Finding], keeps_repeats: bool) -> dict[str, str]:
    """A text for each thing to know, by the name of its finding.

    keeps_repeats   whether frames are interpolated, and repeats are not dropped
    """
    told = {}
    repeats, combs = findings.get("repeats", Repeats()), findings.get("combs", Combs())
    assert isinstance(repeats, Repeats)
    assert isinstance(combs, Combs)
    if keeps_repeats and repeats.frames >= _MOVING and repeats.repeats >= _REPEATED * repeats.frames:
        told["repeats"] = (
            f"{source}: {repeats.repeats} of {repeats.frames} frames in motion repeat the one before, as in drawings "
            "on twos or a film in a stream of a higher rate, so motion stays uneven; add --drop-repeats to make it even"
        )
    if combs.frames >= _MOVING and combs.woven >= _WOVEN * combs.frames:
        told["combs"] = (
            f"{source}: is interlaced, though the file says that it is not: each frame holds two moments, line by "
            f"line. Deinterlace first: {deinterlacing(source)}"
        )
    elif combs.frames >= _MOVING and combs.telecined >= _TELECINED * combs.frames:
        told["combs"] = (
            f"{source}: is telecined film: some frames hold the lines of two pictures (3:2 pulldown). Remove the "
            f"pulldown first, and do not deinterlace: {pulldown_removal(source)}"
        )
    return told


def little_done(findings: Mapping[str, Finding]) -> list[str]:
    """A text for each restoration that has left the film nearly as it was, because it found it clean."""
    told = []
    for name, found in findings.items():
        if isinstance(found, Judged) and found.frames and found.strength < _LITTLE * found.frames:
            means, task = found.means(), name.removesuffix(JUDGED)
            told.append(
                f"{task} found little to do (noise {means['noise']:.1f} of 255, damage by compression "
                f"{means['coding']:.0%}) and took {means['strength']:.0%} of its result; --strength 1 takes all of it"
            )
    return told
