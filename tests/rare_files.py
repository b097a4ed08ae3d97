"""Rare kinds of files through the command that people run, each with its outcome: `make torture` writes the table.

The files are those of a folder of samples and some that are made here. `python tests/rare_files.py WORD...` does those
whose call has one of the words, without words all.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from media import CLIPS, ffprobe, packet_hashes, write

SAMPLES = Path(__file__).parents[2] / "shared/cases"
SECONDS = 300  # for one call, on a machine that does other things as well


@dataclass(frozen=True)
class Ended:
    """A call of the command that has ended: its exit status and what it said."""

    source: Path
    output: Path
    status: int
    said: str

    def report(self) -> dict[str, Any]:
        assert self.status == 0, self.said
        return json.loads(Path(f"{self.output}.json").read_text())

    def streams(self, kind: str, path: Path | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ffprobe(path or self.output, "-show_streams")["streams"]
        return [stream for stream in found if stream["codec_type"] == kind]

    def times(self) -> list[float]:
        """Of the frames that ffprobe decodes, in seconds."""
        shown = ffprobe(self.output, "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time")
        return [float(frame["best_effort_timestamp_time"]) for frame in shown["frames"]]

    def sentence(self, pattern: str) -> str:
        """The line in which the command said what the pattern asks for."""
        for line in self.said.splitlines():
            if re.search(pattern, line):
                return line.strip()
        raise AssertionError(f"{pattern!r} was not said: {self.said}")


@dataclass(frozen=True)
class Kind:
    """A kind of file, or of wish.

    name    what is rare about it
    call    arguments of the command: first a verb, the source and the output; all files lie in ../films
    check   looks at what came of it and says the outcome in words; AssertionError if a promise is broken
    """

    name: str
    call: str
    check: Callable[[Ended], str]


# --- checks -----------------------------------------------------------------------------------------------------------


def copied(stream: str, codec: str) -> Callable[[Ended], str]:
    """`stream` in ffprobe's words, such as a:0."""

    def check(ended: Ended) -> str:
        assert ended.status == 0, ended.said
        hashes = [[digest for _, digest in packet_hashes(path, stream)] for path in (ended.source, ended.output)]
        assert hashes[0] == hashes[1], "the packets of the source"
        kind = {"a": "audio", "s": "subtitle", "d": "data"}[stream[0]]
        assert ended.streams(kind)[0].get("codec_name", ended.streams(kind)[0]["codec_tag_string"]) == codec
        return f"copied ({codec}), {len(hashes[0])} packets"

    return check


def converted(kind: str, codec: str) -> Callable[[Ended], str]:
    def check(ended: Ended) -> str:
        assert ended.status == 0, ended.said
        assert [stream["codec_name"] for stream in ended.streams(kind)] == [codec]
        return f"told: {_short(ended.sentence(f'converted to {codec}'))}"

    return check


def refused(pattern: str) -> Callable[[Ended], str]:
    """One line, nothing under the final name."""

    def check(ended: Ended) -> str:
        assert ended.status not in (0, None), ended.said
        assert not ended.output.is_file(), "nothing has the final name"
        assert "Traceback" not in ended.said, ended.said
        return f"refused: {_short(ended.sentence(pattern))}"

    return check


def told(pattern: str, further: Callable[[Ended], str] = lambda _: "") -> Callable[[Ended], str]:
    def check(ended: Ended) -> str:
        assert ended.status == 0, ended.said
        assert any(re.search(pattern, warning) for warning in ended.report()["warnings"]), "it is in the report as well"
        return f"told: {_short(ended.sentence(pattern))}" + further(ended)

    return check


def _short(line: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"^(warning|error|refilm):?\s*", "", line, flags=re.IGNORECASE))


def sound_with_picture(ended: Ended) -> str:
    """Each flash has its beep."""
    apart = [1000 * (beep - min(_flashes(ended.output), key=lambda t: abs(t - beep))) for beep in _beeps(ended.output)]
    assert apart, "there are beeps"
    worst = max(apart, key=abs)
    assert abs(worst) < 40, f"{worst:.0f} ms"
    drift = ended.report()["av_drift"]
    return f"{len(apart)} beeps within {abs(worst):.0f} ms of their flashes; report: drift {1000 * drift:.1f} ms"


def _flashes(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        seen = [(float(frame.time), frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    return _rises(seen)


def _beeps(path: Path) -> list[float]:
    seen: list[tuple[float, float]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(float)
            samples = samples.reshape(-1, len(frame.layout.channels)).T if not frame.format.is_planar else samples
            for at in range(0, samples.shape[1], 48):
                seen.append((float(frame.time) + at / frame.sample_rate, np.abs(samples[:, at : at + 48]).max()))
    return _rises(seen)


def _rises(seen: list[tuple[float, float]]) -> list[float]:
    """The times at which the values rise above the middle between their extremes."""
    middle = (max(value for _, value in seen) + min(value for _, value in seen)) / 2
    found: list[float] = []
    for (_, before), (time, value) in pairwise([(0.0, 0.0), *seen]):
        if before <= middle < value and (not found or time - found[-1] > 0.2):
            found.append(time)
    return found


def frames(count: int, rate: Fraction | int) -> Callable[[Ended], str]:
    """That many, at even steps."""

    def check(ended: Ended) -> str:
        assert ended.status == 0, ended.said
        times = ended.times()
        assert len(times) == count, f"{len(times)} frames"
        steps = [second - first for first, second in pairwise(times)]
        assert max(abs(step - 1 / Fraction(rate)) for step in steps) < 0.0011, f"{min(steps)} to {max(steps)} s"
        return f"{count} frames at even steps of 1/{rate} s"

    return check


def begin_together(ended: Ended) -> str:
    assert ended.status == 0, ended.said
    begin = [float(ended.streams(kind)[0].get("start_time", 0)) for kind in ("video", "audio")]
    assert abs(begin[1] - begin[0]) < 0.06, begin
    heard = _beeps(ended.output)
    return f"picture begins at {begin[0]:.3f} s, sound at {begin[1]:.3f} s; {len(heard)} sounds"


def time_code(ended: Ended) -> str:
    """The moment of its start, in seconds at the rate that it counts in, is that of the source; or it is left out."""
    first, new = (_time_code(path) for path in (ended.source, ended.output))
    if new is None:
        return f"told: {_short(ended.sentence('time code'))}"
    moments = [_moment(*found) for found in (first, new) if found is not None]
    assert abs(moments[0] - moments[1]) < 1 / 20, moments
    return f"{first[0] if first else ''} -> {new[0]}, {1000 * abs(moments[0] - moments[1]):.0f} ms apart"


def _time_code(path: Path) -> tuple[str, int] | None:
    streams: list[dict[str, Any]] = ffprobe(path, "-show_streams")["streams"]
    # time code counts whole frames: 24 of them in a second of 23.976
    rate = next(round(Fraction(stream["r_frame_rate"])) for stream in streams if stream["codec_type"] == "video")
    told = [stream["tags"]["timecode"] for stream in streams if "timecode" in stream.get("tags", {})]
    return (told[0], rate) if told else None


def _moment(code: str, rate: int) -> float:
    hours, minutes, seconds, count = map(int, re.split("[:;]", code))
    return float(((hours * 60 + minutes) * 60 + seconds) + count / rate)


def titles(ended: Ended) -> str:
    assert ended.status == 0, ended.said
    found = [
        [(c["start_time"][:5], c["end_time"][:5], c.get("tags", {}).get("title", "")) for c in shown["chapters"]]
        for shown in (ffprobe(path, "-show_chapters") for path in (ended.source, ended.output))
    ]
    assert found[0] == found[1], found
    return "as in the source: " + ", ".join(f"{begin}-{end} {title or '(none)'}" for begin, end, title in found[1])


def no_alpha_tag(ended: Ended) -> str:
    tags = {key.lower() for stream in ended.streams("video") for key in stream.get("tags", {})}
    assert "alpha_mode" not in tags
    return "; no tag claims it"


def stereo_kept(ended: Ended) -> str:
    assert ended.report()["warnings"] == [], ended.said
    marks = [
        ended.streams("video", path)[0].get("tags", {}).get("stereo_mode") for path in (ended.source, ended.output)
    ]
    assert marks[0] == marks[1] is not None, marks
    return f"stereo_mode={marks[1]} as in the source, no warning"


def cut_found(ended: Ended) -> str:
    report = ended.report()
    assert report["frames_repeated"] == 1, report["frames_repeated"]
    return "found: the frame at the cut repeats, none mixes both scenes"


def stillness_held(ended: Ended) -> str:
    """Frames of the longest gap of the source are equal to its first one, but for the last few."""
    with av.open(str(ended.source)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    begin, end = max(pairwise(times), key=lambda pair: pair[1] - pair[0])
    with av.open(str(ended.output)) as container:
        shown = [
            frame.to_ndarray(format="gray").astype(int)
            for frame in container.decode(video=0)
            if begin <= float(frame.time) < end - 0.001
        ]
    moved = [np.abs(picture - shown[0]).mean() > 2 for picture in shown]
    assert sum(moved) <= 12, sum(moved)
    return f"held: of {len(shown)} frames in a gap of {end - begin:.1f} s, {sum(moved)} differ from its first"


def lettering_kept(ended: Ended) -> str:
    """Samples that are bright in all frames of the source are so in the new frames."""
    with av.open(str(ended.source)) as container:
        source = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(int)
    with av.open(str(ended.output)) as container:
        made = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(int)[1::2]
    darkest = source.min(axis=0)
    letters = (darkest > 170) & (source.max(axis=0) - darkest < 60)
    assert letters.sum() > 1000
    torn = ((darkest - made)[:, letters] > 30).mean()
    assert torn < 0.01, torn
    return f"kept: {100 * torn:.2f} % of its samples are darker by more than 30 of 255 in the new frames"


def works(ended: Ended) -> str:
    report = ended.report()
    assert [stream["codec_name"] for stream in ended.streams("audio")] == [
        stream["codec_name"] for stream in ended.streams("audio", ended.source)
    ]
    return f"{report['frames_out']} frames, sound copied"


def pixel_format(codec: str, pix_fmt: str, pattern: str = "") -> Callable[[Ended], str]:
    def check(ended: Ended) -> str:
        assert ended.status == 0, ended.said
        (stream,) = ended.streams("video")
        assert (stream["codec_name"], stream["pix_fmt"]) == (codec, pix_fmt), stream
        return f"{codec}, {pix_fmt}" + (f"; told: {_short(ended.sentence(pattern))}" if pattern else "")

    return check


# --- the kinds --------------------------------------------------------------------------------------------------------


def smooth(source: str, output: str, further: str = "") -> str:
    """The arguments of a quick interpolation."""
    return f"interpolate ../films/{source} {output} {further} --model flow-blend"


KINDS = [
    Kind("MPEG-TS joined of four recordings", smooth("join.ts", "o.mkv"), sound_with_picture),
    Kind("B-frames in AVI", smooth("h264bf.avi", "o.mkv", "--times 1"), frames(50, 25)),
    Kind(
        "H.265 without times, --input-fps 60", smooth("r60.h265", "o.mkv", "--times 1 --input-fps 60"), frames(60, 60)
    ),
    Kind("edit list that hides the beginning", smooth("trim.mp4", "o.mkv"), begin_together),
    Kind("DTS sound", smooth("dts.mkv", "o.mkv"), copied("a:0", "dts")),
    Kind("A-law sound into Matroska", smooth("aud_alaw.mkv", "o.mkv"), converted("audio", "flac")),
    Kind("PGS subtitles", smooth("pgs.mkv", "o.mkv"), copied("s:0", "hdmv_pgs_subtitle")),
    Kind("PGS subtitles into MP4", smooth("pgs.mkv", "o.mp4"), refused("cannot hold")),
    Kind("DVD subtitles", smooth("dvdsub.mkv", "o.mkv"), copied("s:0", "dvd_subtitle")),
    Kind("mov_text into Matroska", smooth("movtext.mp4", "o.mkv"), converted("subtitle", "subrip")),
    Kind("SubRip into MP4", smooth("srt.mkv", "o.mp4"), converted("subtitle", "mov_text")),
    Kind("untitled chapter", smooth("chap.mkv", "o.mp4"), titles),
    Kind("MPEG-TS as output", smooth("base.mp4", "o.ts"), works),
    Kind("camera metadata", smooth("d_rtmd.mp4", "o.mp4"), told("rtmd|data")),
    Kind("time code, 23.976 frames to four times", smooth("tc23.mov", "o.mov", "--times 4"), time_code),
    Kind("time code, 25 frames to twelve times", smooth("tc25.mov", "o.mov", "--times 12"), time_code),
    Kind("alpha in side data", smooth("alpha2.webm", "o.webm"), told("alpha|transparen", no_alpha_tag)),
    Kind("stereo mark", smooth("st.mkv", "o.mkv"), stereo_kept),
    Kind("Dolby Vision profile 5", smooth("dv5.mp4", "o.mkv"), told("Dolby Vision")),
    Kind("cut in a dim film", smooth("k_darkcut.mp4", "o.mkv"), cut_found),
    Kind("screen recording with a long gap", smooth("screen.mp4", "o.mkv", "--fps 60"), stillness_held),
    Kind("lettering over a pan", smooth("rh78.mp4", "o.mkv", "--crf 0"), lettering_kept),
    Kind("drawings on twos", smooth("k_anim2.mp4", "o.mkv"), told("drop-repeats")),
    Kind("hard pulldown", smooth("hardtc.mkv", "o.mkv"), told("pulldown")),
    Kind("10 bit PQ into WebM", smooth("hdr10.mp4", "o.webm"), pixel_format("av1", "yuv420p10le")),
    Kind("4:4:4 into WebM", smooth("odd-444.mp4", "o.webm"), pixel_format("vp9", "yuv444p")),
    Kind(
        "12 bit with SVT-AV1",
        smooth("12-bit.mkv", "o.mkv", "--codec libsvtav1"),
        pixel_format("av1", "yuv420p10le", "10 of 12 bits"),
    ),
    Kind("RGB into MP4", smooth("rgb.avi", "o.mp4"), pixel_format("h264", "yuv420p", "colour resolution")),
    Kind("--times 2.5", "interpolate ../films/v.mp4 o.mkv --times 2.5", refused("--fps")),
    Kind("--scale 2.5", "upscale ../films/v.mp4 o.mkv --scale 2.5", refused("2.5")),
    Kind("--device mps", "interpolate ../films/v.mp4 o.mkv --device mps", refused("mps")),
    Kind("--crf 99", "interpolate ../films/v.mp4 o.mkv --crf 99", refused("crf")),
    Kind(
        "an encoder whose hardware is not there",
        "interpolate ../films/v.mp4 o.mkv --codec h264_nvenc",
        refused("h264_nvenc"),
    ),
    Kind("'.' as output", "interpolate ../films/v.mp4 .", refused(r"'\.'|\. |folder")),
    Kind("a URL as input", "interpolate https://example.org/v.mp4 o.mkv", refused("https")),
    Kind("an empty pipe as input", "interpolate - o.mkv", refused("-")),
    Kind("wider than H.264 allows", "upscale ../films/wide5.mp4 o.mkv", refused("16384")),
    Kind("animated WebP", "interpolate ../films/a.webp o.mkv", refused("WebP")),
]


def outcomes(samples: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """(kind, outcome) of each call; the outcome begins with FAULT where a promise is broken."""
    films = shutil.copytree(samples, folder / "films")
    for name in ("hdr10", "odd-444", "rgb"):
        write(films / f"{name}{CLIPS[name].suffix}", CLIPS[name])
    write(films / "12-bit.mkv", replace(CLIPS["gray"], pix_fmt="yuv420p12le"))
    for number, kind in enumerate(KINDS):
        work = folder / str(number)
        work.mkdir()
        arguments = kind.call.split()
        command = [sys.executable, "-m", "refilm.cli.main", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=work,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            ended = Ended(work / arguments[1], work / arguments[2], done.returncode, done.stderr)
            assert done.returncode == 0 or len(done.stderr.strip().splitlines()) <= 3, done.stderr
            yield kind.name, kind.check(ended)
        except Exception as error:
            yield kind.name, f"FAULT: {_short(repr(error))[:300]}"
        shutil.rmtree(work)


if __name__ == "__main__":
    KINDS[:] = [kind for kind in KINDS if not sys.argv[1:] or any(word in kind.call for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as scratch:
        for name, outcome in outcomes(SAMPLES, Path(scratch)):
            print(f"{name}: {outcome}", flush=True)
