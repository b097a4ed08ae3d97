"""What samples of a film show of it, and what is proposed to do about it; docs/choices.md#proposals has the rules.

How much is looked at follows from the film alone and not from the clock, so that the same film always gets the same
proposal, and a job that goes on is the job that was begun.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from refilm.jobs.advice import advice, interlaced
from refilm.jobs.job import expected_frames
from refilm.jobs.source import open_source
from refilm.stages.combs import CombCheck
from refilm.stages.findings import Combs, Repeats
from refilm.stages.repeats import RepeatMarker
from refilm.stages.scene_cuts import SceneCuts
from refilm.video import Frame, VideoInfo, VideoReader

if TYPE_CHECKING:
    from refilm.stages.damage import Damage

# Places of a film that are looked at, and frames at each of them; of pictures above full HD, the fewer the larger.
_PLACES, _FEWEST_PLACES, _RUN = 10, 3, 12
_FULL_HD = 1920 * 1080
# A film of up to so many frames is read from its beginning, and so much of one in which no places can be sought.
_READ = 600
# The least strengths, of 1, that the usual place has to ask for. Soft film without damage asks for 0.6 of deblocking.
_NOISY, _DAMAGED = 0.5, 0.65
# Shorter side in pixels up to which a film is enlarged, the side that it then comes nearest to, and the longest side.
_SMALL, _AIM, _LONGEST = 576, 1080, 4096
_FACTORS = 2, 4
# A film of more frames a second needs no new ones, nor does one that moves in fewer of the frames looked at.
_SMOOTH, _MOVES = 31, 0.2


@dataclass(frozen=True)
class Analysis:
    """What samples of a film show, and what is proposed. Shares are of 1.

    source       path of the film
    width, height, frame_rate, frames   as the file says; `frames` is None if it does not
    places       places of the film that were looked at
    frames_seen  frames that were looked at there
    noise        usual standard deviation of the noise or grain, in 8-bit levels; clean film has up to 0.7
    coding       usual damage by compression, the strength of restoration that it asks for, 0 ... 1; None: not known
    cuts         cuts among the frames seen
    moving       share of the frames seen that move
    repeated     share of the moving frames that repeat the one before
    interlaced   whether the file says that it is interlaced
    telecined    share of the moving frames whose lines belong to two pictures of a film (3:2 pulldown)
    woven        share of the moving frames that hold two moments, line by line
    first        what has to be done before anything else, in words; None: nothing
    wanted       the proposal: keywords for `refilm.enhance`, empty if nothing is to do, or something has to be first
    reasons      the reason for each keyword of `wanted`
    optional     further keywords that are a matter of taste and not part of the proposal, such as times=2
    seconds      that the proposal is expected to take, a rough figure; None: not known
    """

    source: str
    width: int
    height: int
    frame_rate: Fraction
    frames: int | None
    places: int
    frames_seen: int
    noise: float
    coding: float | None
    cuts: int
    moving: float
    repeated: float
    interlaced: bool
    telecined: float
    woven: float
    first: str | None = None
    wanted: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    optional: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    def command(self, output: Path, further: Mapping[str, Any] | None = None) -> str:
        """The command that does what is proposed, with further keywords of `refilm.enhance`."""
        return shlex.join(["refilm", "enhance", self.source, str(output), *flags(self.wanted | dict(further or {}))])


def flags(keywords: Mapping[str, Any]) -> Iterator[str]:
    """The flags of the command for keywords that have an effect."""
    for name, value in keywords.items():
        if value is not None and value is not False:
            yield f"--{name.replace('_', '-')}"
            if value is not True:
                yield f"{value:g}" if isinstance(value, float) else str(value)


def look_at(
    path: Path, rate: Fraction | None = None, force: bool = False, on_step: Callable[[str], None] = lambda _: None
) -> tuple[VideoInfo, Analysis]:
    """Look at samples of a film, and propose what to do, still without the time that it takes.

    rate     frame rate of a source without times
    force    whether to take an interlaced film as it is
    on_step  is told what takes a while

    Raises VideoError if the film cannot be read.
    """
    on_step(f"reading {path.name}")
    with open_source(path, rate) as source:
        info, seen = source.info, _Seen()
        on_step(f"looking at {path.name}")
        for run in _sought_runs(source, info):
            seen.add(run)
        reads_on = seen.places >= _FEWEST_PLACES
    if not reads_on:
        seen = _Seen()
        with open_source(path, rate) as source:
            for run in _runs_from_start(iter(source), info):
                seen.add(run)
    return info, replace(seen.analysis(info), **_proposal(seen, info, force))


def _places(info: VideoInfo) -> int:
    return max(_FEWEST_PLACES, min(_PLACES, _PLACES * _FULL_HD // (info.width * info.height)))


def _sought_runs(source: object, info: VideoInfo) -> Iterator[Iterable[Frame]]:
    """Neighbouring frames at places all over the film; none if it is short, or cannot be sought."""
    frames = expected_frames(info)
    if not isinstance(source, VideoReader) or info.duration is None or frames is None or frames <= _READ:
        return
    count, begins = _places(info), set[Fraction]()
    for number in range(count):
        run = source.near((number + Fraction(1, 2)) * info.duration / count, _RUN)
        first = next(run, None)
        if first is not None and first.time not in begins:
            begins.add(first.time)
            yield itertools.chain([first], run)
        for _ in run:  # of a place that another one has led to already
            pass


def _runs_from_start(frames: Iterator[Frame], info: VideoInfo) -> Iterator[Iterable[Frame]]:
    """Neighbouring frames at places in the first frames of the film. Each has to be read before the next."""
    count, length = _places(info), min(_READ, expected_frames(info) or _READ // 2)
    for _ in range(count):
        run = itertools.islice(frames, _RUN)
        first = next(run, None)
        if first is None:
            return
        yield itertools.chain([first], run)
        for _ in itertools.islice(frames, max(0, length // count - _RUN)):
            pass


class _Seen:
    """What was seen so far."""

    def __init__(self) -> None:
        self.places = self.frames = self.cuts = 0
        self.repeats, self.combs = Repeats(), Combs()
        self.damage: list[Damage] = []

    def add(self, run: Iterable[Frame]) -> None:
        """Look at neighbouring frames, at least one. Damage is measured on the last, as first ones are key frames."""
        from refilm.stages.damage import find_damage  # loads torch; what is wrong with the file has been told by now

        combs, repeats = CombCheck(), RepeatMarker()
        before: Frame | None = None
        last: Frame | None = None
        for frame in SceneCuts().mark(run):
            self.frames += 1
            self.cuts += frame.starts_scene and last is not None
            combs.push(frame)
            for _ in repeats.push(frame):
                pass
            before, last = None if frame.starts_scene else last, frame
        for _ in repeats.flush():
            pass
        assert last is not None, "a place has a frame"
        self.places += 1
        self.damage.append(find_damage(last.rgb, None if before is None else before.rgb))
        # the first frame of a place, of which nothing before is known, counts as moving
        self.repeats += repeats.finding + Repeats(-1)
        self.combs += combs.finding

    def analysis(self, info: VideoInfo) -> Analysis:
        """What was seen, without a proposal."""
        coding = [damage.coding for damage in self.damage if damage.coding is not None]
        moving = max(self.combs.frames, 1)
        return Analysis(
            source=str(info.path),
            width=info.width,
            height=info.height,
            frame_rate=info.frame_rate,
            frames=expected_frames(info),
            places=self.places,
            frames_seen=self.frames,
            noise=round(median(damage.noise for damage in self.damage), 2),
            coding=round(median(coding), 2) if coding else None,
            cuts=self.cuts,
            moving=round(self.repeats.frames / max(self.frames - self.places, 1), 2),
            repeated=round(self.repeats.repeats / max(self.repeats.frames, 1), 2),
            interlaced=info.interlaced,
            telecined=round(self.combs.telecined / moving, 2),
            woven=round(self.combs.woven / moving, 2),
        )


def _proposal(seen: _Seen, info: VideoInfo, force: bool) -> dict[str, Any]:
    """What is proposed, by the fields of Analysis."""
    from refilm.stages.damage import noise_strength

    found = seen.analysis(info)
    told = advice(info.path, {"repeats": seen.repeats, "combs": seen.combs}, keeps_repeats=True)
    first = interlaced(info) if info.interlaced else told.get("combs")
    if first is not None and not force:
        return {"first": first}
    reasons: dict[str, str] = {}
    wanted: dict[str, Any] = {}
    if noise_strength(found.noise) >= _NOISY:
        wanted["denoise"] = True
        reasons["denoise"] = f"noise or film grain of {found.noise:.1f} of 255; leave this out to keep the grain"
    if found.coding is not None and found.coding >= _DAMAGED:
        wanted["deblock"] = True
        reasons["deblock"] = f"damage by compression of {found.coding:.0%}; undamaged film has up to 60%"
    side = min(info.width, info.height)
    factor = max(_FACTORS[0], min(_FACTORS[1], round(_AIM / side)))
    if side <= _SMALL and factor * max(info.width, info.height) <= _LONGEST:
        wanted["upscale"] = factor
        reasons["upscale"] = (
            f"{info.width}x{info.height} is small; becomes {factor * info.width}x{factor * info.height}"
        )
    optional: dict[str, Any] = {}
    if not info.is_picture and info.frame_rate < _SMOOTH and found.moving >= _MOVES:
        optional = {"times": 2} | ({"drop_repeats": True} if "repeats" in told else {})
    return {"wanted": wanted, "reasons": reasons, "optional": optional}
