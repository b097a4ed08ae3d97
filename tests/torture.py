"""Mutated inputs, injected faults and rare kinds of files: `python tests/torture.py --inputs 1000`, or `make torture`.

Every input must end in success or in an error of refilm's own, in bounded time, with nothing under the final name
unless it is complete; after every fault the same job, called again, must give the packets of an undisturbed run.
Writes results/reliability.md. The tests in tests/test_torture.py do a little of the same.
"""

# ruff: noqa: PT017   the counts take note of an assertion as of any other error

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import rare_files
from media import CLIPS, even, write

import refilm
from refilm.errors import JobError, RefilmError, VideoError
from refilm.jobs.job import Job, Progress
from refilm.jobs.video_file import encoded_sink
from refilm.options import Encoding, Running
from refilm.stages.stage import Chain
from refilm.video import VideoReader
from refilm.video import reader as reading

SECONDS = 60  # for one input, on a machine that does other things as well
_TINY = {"width": 48, "height": 32}
_SOURCES = {
    "mp4": replace(CLIPS["companions"], times=even(12, 24), **_TINY),
    "mp4-b": replace(CLIPS["b-frames"], times=even(12, 24), audio=("eng",), **_TINY),
    "mkv": replace(CLIPS["companions-mkv"], times=even(12, 24), **_TINY),
    "mkv-vfr": replace(CLIPS["vfr-mkv"], times=CLIPS["vfr-mkv"].times[:12], **_TINY),
    "avi": replace(CLIPS["rgb"], codec="mpeg4", pix_fmt="yuv420p", times=even(12, 24), **_TINY),
    "webm": replace(CLIPS["cfr-24"], suffix=".webm", codec="libvpx-vp9", options={"cpu-used": "8"},
                    times=even(12, 24), **_TINY),
    "ts": replace(CLIPS["cfr-24"], suffix=".ts", times=even(12, 24), audio=("eng",), **_TINY),
    # no presentation times
    "avi-b": replace(CLIPS["b-frames"], suffix=".avi", times=even(12, 24), audio=("eng",), audio_codec="wmav2",
                     **_TINY),
    "h264": replace(CLIPS["b-frames"], suffix=".h264", times=even(12, 24), **_TINY),
    # sound and subtitles that Matroska, into which all are written, holds in other codecs only
    "mov": replace(CLIPS["companions"], suffix=".mov", audio_codec="pcm_alaw", times=even(12, 24), **_TINY),
    # its sound begins before the picture that is shown
    "mp4-edit": replace(CLIPS["edit-list"], times=even(18, 24, Fraction(-1, 4)), audio=("eng",), **_TINY),
}  # fmt: skip


def run_job(source: Path, output: Path, on_progress: Callable[[Progress], None] = lambda _: None, **options: object):
    """A job of several segments that changes no picture, so that what is tested is everything else."""
    encoding = {} if "%" in output.name else {"codec": "libx264", "preset": "ultrafast", "pix_fmt": "yuv444p"}
    running = Running(**{"scene_cuts": False, "threads": 1, "force": True} | options)
    sink = encoded_sink(output, Encoding(**encoding))
    return Job(source, sink, lambda *_: Chain(()), running=running, segment_frames=4).run(on_progress)


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


# --- hostile inputs ---------------------------------------------------------------------------------------------------


def mutations(rng: random.Random, files: dict[str, bytes]) -> Iterator[tuple[str, str, bytes]]:
    """(kind, name of the file it was made of, contents), without end."""
    names = sorted(files)
    while True:
        name = rng.choice(names)
        data = bytearray(files[name])
        kind = rng.choice(["bit flips", "bit flips in the header", "truncation", "spliced header", "giant size",
                           "overwritten stretch", "stretch removed", "stretch doubled"])  # fmt: skip
        place, length = rng.randrange(len(data)), min(rng.randrange(1, 2000), len(data))
        if kind == "bit flips":
            for _ in range(rng.randrange(1, 50)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == "bit flips in the header":
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(min(1500, len(data)))] ^= 1 << rng.randrange(8)
        elif kind == "truncation":
            del data[place:]
        elif kind == "spliced header":
            other = files[rng.choice(names)]
            data = bytearray(other[: rng.randrange(1, min(3000, len(other)))]) + data[place:]
        elif kind == "giant size":
            for _ in range(rng.randrange(1, 4)):
                spot = rng.randrange(max(1, len(data) - 8))
                data[spot : spot + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x75\x30"])
        elif kind == "overwritten stretch":
            data[place : place + length] = rng.choice([bytes(length), rng.randbytes(length), b"\xff" * length])
        elif kind == "stretch removed":
            del data[place : place + length]
        else:
            data[place:place] = data[place : place + length]
        yield kind, name, bytes(data)


def survived(source: Path, output: Path) -> str:
    """How a job on a hostile file ended. AssertionError if not as promised; whatever else is raised is a fault, too."""
    began = time.monotonic()
    try:
        report = run_job(source, output)
    except RefilmError as error:
        assert "\n" not in str(error), "an error is one line"
        assert not output.exists(), "nothing has the final name"
        outcome = type(error).__name__ + (" (crash)" if "crashed" in str(error) else "") * isinstance(error, VideoError)
    else:
        assert len(packets(output)) == report.frames_out, "what has the final name is complete"
        outcome = "done, with a warning" if report.warnings else "done"
    assert time.monotonic() - began < SECONDS, "the time is bounded"
    return outcome


def hostile_inputs(count: int, seed: int, folder: Path, tell: Callable[[str], None]) -> Counter[tuple[str, str]]:
    """Outcomes by kind of mutation; inputs that break a promise are kept in `folder` and counted as "FAULT"."""
    rng = random.Random(seed)
    files = {name: write(folder / f"{name}{clip.suffix}", clip).path for name, clip in _SOURCES.items()}
    files["ts-joined"] = files["ts"].with_stem("ts-joined")  # times jump back in the middle
    files["ts-joined"].write_bytes(2 * files["ts"].read_bytes())
    contents = {name: path.read_bytes() for name, path in files.items()}
    changed = itertools.islice(mutations(rng, contents), count)

    def attempt(source: Path, kind: str, name: str) -> str:
        return survived(source, source.with_name("out.mkv"))

    return tried("input", changed, files, folder, tell, attempt)


def tried(
    what: str,
    changed: Iterable[tuple[str, str, bytes]],
    files: Mapping[str, Path],
    folder: Path,
    tell: Callable[[str], None],
    attempt: Callable[[Path, str, str], str],
) -> Counter[tuple[str, str]]:
    """Outcomes of `attempt(path, kind, name)` on changed files, by kind; those that fail are kept, as "FAULT"."""
    outcomes: Counter[tuple[str, str]] = Counter()
    for number, (kind, name, data) in enumerate(changed):
        work = folder / f"{number:05d}"
        work.mkdir()
        source = work / f"in{files[name].suffix}"
        source.write_bytes(data)
        try:
            outcome = attempt(source, kind, name)
        except Exception as error:  # whatever it is, it breaks the promise
            tell(f"{what} {number} ({kind} of {name}) in {work}: {error!r}")
            outcomes[kind, "FAULT"] += 1
        else:
            outcomes[kind, outcome] += 1
            shutil.rmtree(work)
        if (number + 1) % 50 == 0:
            tell(f"{number + 1} {what}s")
    return outcomes


# --- learned bitstreams -----------------------------------------------------------------------------------------------

_BITSTREAMS = {
    "rfv": replace(CLIPS["companions-mkv"], times=even(12, 24), **_TINY),
    "rfv-vfr": replace(CLIPS["audio-late-start"], times=CLIPS["audio-late-start"].times[:12], **_TINY),
}
_GOP = 4


def blocks(path: Path) -> list[tuple[int, int]]:
    """Where the coded pictures of a bitstream begin and end in the file."""
    content, found, place = path.read_bytes(), [], 0
    with av.open(str(path)) as container:
        video = next(stream for stream in container.streams if stream.type == "video")
        for packet in container.demux(video):
            if packet.size:
                place = content.index(bytes(packet), place)
                found.append((place, place + packet.size))
    return found


def changed_pictures(
    rng: random.Random, contents: dict[str, bytes], places: dict[str, list[tuple[int, int]]]
) -> Iterator[tuple[str, str, bytes]]:
    """(kind, name, contents) without end: the coded pictures of bitstreams changed, where `mutations` seldom hits."""
    while True:
        name = rng.choice(sorted(contents))
        data, (start, end) = bytearray(contents[name]), rng.choice(places[name])
        kind = rng.choice(["pictures swapped", "a picture of another film", "a bit of a picture", "a zeroed picture"])
        if kind == "pictures swapped":  # of one length, so that the container stays whole
            other, until = rng.choice(places[name])
            length = min(end - start, until - other)
            one, two = bytes(data[start : start + length]), bytes(data[other : other + length])
            data[start : start + length], data[other : other + length] = two, one
        elif kind == "a picture of another film":
            film = rng.choice(sorted(contents))
            other, until = rng.choice(places[film])
            length = min(end - start, until - other)
            data[start : start + length] = contents[film][other : other + length]
        elif kind == "a bit of a picture":
            data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
        else:
            place = rng.randrange(start, end)
            data[place:end] = bytes(end - place)
        yield kind, name, bytes(data)


def shown(path: Path) -> tuple[list[tuple[Fraction, bytes]], list[str]]:
    """(time and samples of each picture, what is told of those that are missing)"""
    with VideoReader(path) as reader:
        found = [(frame.time, b"".join(plane.tobytes() for plane in frame.planes)) for frame in reader]
        return found, reader.losses.warnings()


def read_as_promised(source: Path, *films: list[tuple[Fraction, bytes]]) -> None:
    """AssertionError if pictures are garbage, of none of these films, or are missing without a word."""
    try:
        found, told = shown(source)
    except RefilmError:
        return
    assert told or all(any(each in film for film in films) for each in found), "no picture is garbage without a word"
    assert all(one[0] < two[0] for one, two in itertools.pairwise(found)), "times rise"
    # only if its declared end is damaged as well is it not known that the end is missing
    assert told or any(found == film[: len(found)] for film in films), "no picture is missing without a word"


def hostile_bitstreams(count: int, seed: int, folder: Path, tell: Callable[[str], None]) -> Counter[tuple[str, str]]:
    """As `hostile_inputs`, for files of the codec that ships; their pictures are compared with those of whole files."""
    rng = random.Random(seed)
    files = {name: folder / f"{name}.rfv" for name in _BITSTREAMS}
    for name, clip in _BITSTREAMS.items():
        film = write(folder / f"{name}{clip.suffix}", clip).path
        refilm.encode(film, files[name], quality=4, gop=_GOP, scene_cuts=False, threads=1)
    contents = {name: path.read_bytes() for name, path in files.items()}
    whole = {name: shown(path)[0] for name, path in files.items()}
    ways = mutations(rng, contents), changed_pictures(rng, contents, {name: blocks(files[name]) for name in files})

    def attempt(source: Path, kind: str, name: str) -> str:
        # a spliced file may go on with the pictures of the other one
        read_as_promised(source, *(whole.values() if "spliced" in kind else [whole[name]]))
        return survived(source, source.with_name("out.mkv"))

    changed = (next(rng.choice(ways)) for _ in range(count))
    return tried("bitstream", changed, files, folder, tell, attempt)


# --- faults -----------------------------------------------------------------------------------------------------------


def in_a_fork(work: Callable[[], object]) -> int:
    """The exit status of `work` done in a copy of this process: 0 done, 1 an error of refilm's, -9 killed."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        except RefilmError:
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


STEPS = ("replace", "fsync", "link", "unlink", "rmdir", "mkdir", "open")


def killed_at_step(step: int, work: Callable[[], object]) -> int:
    """The exit status of `work`, which is killed just before its `step`-th change to the file system."""

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def act(*arguments: object, **options: object) -> object:
            nonlocal step
            step -= 1
            if step < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        return act

    def killed() -> object:
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        return work()

    return in_a_fork(killed)


def killed_after(seconds: float, work: Callable[[], object]) -> int:
    def killed() -> object:
        signal.setitimer(signal.ITIMER_REAL, seconds)  # whose signal, unhandled, ends the process on the spot
        return work()

    return in_a_fork(killed)


def killed_at_frame(frame: int, source: Path, output: Path) -> None:
    def kill(progress: Progress) -> None:
        if progress.frames >= frame:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_fork(lambda: run_job(source, output, kill)) == -signal.SIGKILL


class Faults:
    """Each method injects one fault into a job on `film`, lets the job be called again, and checks the result.

    Returns the words for the outcome; AssertionError if a promise is broken.
    """

    def __init__(self, folder: Path) -> None:
        clip = replace(_SOURCES["mp4-b"], times=even(24, 24))
        self.film = write(folder / "film.mp4", clip).path
        self.folder = folder
        run_job(self.film, folder / "undisturbed.mkv")
        self.expected = packets(folder / "undisturbed.mkv")
        began = time.monotonic()
        in_a_fork(lambda: run_job(self.film, folder / "timed.mkv"))
        self.seconds = time.monotonic() - began

    def fresh(self, name: str) -> Path:
        work = self.folder / name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        return work / "out.mkv"

    def end_well(self, output: Path, **options: object) -> str:
        """The same call again: the result is that of an undisturbed run, and nothing is left behind."""
        before = output.exists()
        if before:
            assert packets(output) == self.expected, "what has the final name is complete"
        try:
            run_job(self.film, output, **options)
        except JobError as error:
            assert before, f"only a finished job is refused: {error}"
            assert "exists" in str(error)
        assert packets(output) == self.expected, "the same packets as undisturbed"
        left = sorted(path.name for path in output.parent.iterdir())
        assert left == [output.name, f"{output.name}.json"], f"nothing is left behind: {left}"
        return "was finished" if before else "finished when called again"

    def kill_at_step(self, step: int) -> str:
        output = self.fresh("step")
        status = killed_at_step(step, lambda: run_job(self.film, output))
        assert status in (0, -signal.SIGKILL), status
        return self.end_well(output) if status else "undisturbed"

    def kill_at_random(self, rng: random.Random) -> str:
        output = self.fresh("random")
        killed_after(rng.uniform(0.01, 1.2 * self.seconds), lambda: run_job(self.film, output))
        return self.end_well(output)

    def decoder_killed(self, rng: random.Random) -> str:
        """A crash, or a hang, of the reading process at any moment."""
        output, moment = self.fresh("decoder"), rng.uniform(0.0, self.seconds)
        sent = rng.choice([signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP])

        def disturbed() -> object:
            reading.PATIENCE = 2
            start = VideoReader.__init__

            def started(reader: VideoReader, *arguments: object) -> None:
                def disturb() -> None:
                    with contextlib.suppress(ProcessLookupError, AttributeError):
                        os.kill(reader._process.pid, sent)

                threading.Timer(moment, disturb).start()
                start(reader, *arguments)  # type: ignore[arg-type]

            VideoReader.__init__ = started  # type: ignore[method-assign, assignment]
            return run_job(self.film, output)

        assert in_a_fork(disturbed) in (0, 1)
        return self.end_well(output)

    def disk_full(self, rng: random.Random) -> str:
        with small_disk(self.folder / "disk", rng.randrange(16, 100, 4)) as disk:
            output = disk / "out.mkv"
            if in_a_fork(lambda: run_job(self.film, output)) == 0:
                return "had room enough: " + self.end_well(output)
            subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
            return self.end_well(output)

    def other_file_system(self) -> str:
        with small_disk(self.folder / "disk", 20000) as disk:
            outcome = self.end_well(disk / "out.mkv")
        with small_disk(self.folder / "pictures", 20000) as disk:
            run_job(self.film, disk / "%03d.png")
            assert len(list(disk.glob("*.png"))) == 24
        return outcome

    def source_changed(self, rng: random.Random) -> str:
        """Between two runs: the first is killed, the second must refuse, and begin anew when told."""
        output, source = self.fresh("changed"), self.folder / "changing.mp4"
        shutil.copy(self.film, source)
        killed_at_frame(rng.randrange(6, 24), source, output)
        shutil.copy(self.folder / "undisturbed.mkv", source)
        try:
            run_job(source, output)
        except JobError as error:
            assert "source was" in str(error)
        else:
            raise AssertionError("another source was taken for the same")
        run_job(source, output, restart=True)
        return "refused, and begun anew with --restart"

    def source_changes_while_read(self) -> str:
        output, source = self.fresh("written"), self.folder / "changing.mp4"
        shutil.copy(self.film, source)

        def grow(_: object) -> None:
            with source.open("ab") as file:
                file.write(b"more")

        try:
            run_job(source, output, on_progress=grow)
        except JobError as error:
            assert "has changed while it was read" in str(error)
        else:
            raise AssertionError("a source that grew was taken for complete")
        assert not output.exists()
        return "refused"

    def two_at_once(self, rng: random.Random) -> str:
        output = self.fresh("two")
        pause = rng.uniform(0, self.seconds)

        def second() -> object:
            time.sleep(pause)
            return run_job(self.film, output)

        process = os.fork()
        if process == 0:
            os._exit(in_a_fork(second))
        first = in_a_fork(lambda: run_job(self.film, output))
        other = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert sorted((first, other)) == [0, 1], (first, other)
        self.end_well(output)
        return "one did it, the other was refused"

    def clock_jumps(self, rng: random.Random) -> str:
        """The wall clock is elsewhere at every look, and the files of the killed run are from other years."""
        output = self.fresh("clock")
        killed_at_frame(rng.randrange(6, 24), self.film, output)
        for file in output.parent.rglob("*"):
            os.utime(file, (rng.randrange(2**31), rng.randrange(2**31)))
        clocks = time.time, time.time_ns
        time.time = lambda: rng.uniform(0, 2**32)
        time.time_ns = lambda: rng.randrange(2**62)
        try:
            return self.end_well(output)
        finally:
            time.time, time.time_ns = clocks

    def interrupted_twice(self, rng: random.Random) -> str:
        """Two Ctrl-C at the command, which ends with 130 and no traceback."""
        output = self.fresh("twice")
        command = [sys.executable, "-m", "refilm.cli.main", "interpolate", str(self.film), str(output), "--times", "32"]
        process = subprocess.Popen([*command, "--model", "flow-blend"], stderr=subprocess.PIPE, text=True)
        while not list(output.parent.glob("out.mkv.refilm/job.json")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(rng.uniform(0, 0.1))
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode in (0, 130), said
        assert "Traceback" not in said, said
        assert output.exists() == (process.returncode == 0)
        return "ended with 130, nothing under the final name" if process.returncode else "was finished"

    def output_appears(self) -> str:
        """Somebody writes a file of the output's name between the last look and the final step."""
        output = self.fresh("appears")
        link = os.link

        def late(*arguments: object) -> None:
            output.write_text("precious")
            link(*arguments)  # type: ignore[arg-type]

        os.link = late  # type: ignore[assignment]
        try:
            run_job(self.film, output)
        except JobError as error:
            assert "exists" in str(error)
        else:
            raise AssertionError("somebody's file was replaced")
        finally:
            os.link = link
        assert output.read_text() == "precious"
        output.unlink()
        return self.end_well(output)

    def read_only_folder(self) -> str:
        with small_disk(self.folder / "disk", 2000) as disk:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            try:
                run_job(self.film, disk / "out.mkv")
            except JobError as error:
                assert "cannot write here" in str(error)
                return "refused"
        raise AssertionError("wrote to a read-only folder")


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def can_mount(folder: Path) -> bool:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
    return mounted.returncode == 0 and subprocess.run(["umount", folder], check=False).returncode == 0


def injected_faults(rounds: int, seed: int, folder: Path, tell: Callable[[str], None]) -> Counter[tuple[str, str]]:
    """Outcomes by kind of fault: a kill before each change to the file system, and `rounds` of each of the others."""
    rng, outcomes = random.Random(seed), Counter[tuple[str, str]]()
    faults = Faults(folder)

    def note(kind: str, inject: Callable[[], str]) -> str:
        try:
            outcome = inject()
        except Exception as error:
            tell(f"{kind}: {error!r}")
            outcome = "FAULT"
        outcomes[kind, outcome] += 1
        return outcome

    for step in range(1000):
        if note("kill -9 before a change to the file system", lambda: faults.kill_at_step(step)) == "undisturbed":  # noqa: B023
            break
    kinds: dict[str, Callable[[], str]] = {
        "kill -9 at a random moment": lambda: faults.kill_at_random(rng),
        "the reading process crashes or hangs": lambda: faults.decoder_killed(rng),
        "two jobs on one output": lambda: faults.two_at_once(rng),
        "the source changes between runs": lambda: faults.source_changed(rng),
        "the source changes while it is read": faults.source_changes_while_read,
        "the clock jumps": lambda: faults.clock_jumps(rng),
        "Ctrl-C twice": lambda: faults.interrupted_twice(rng),
        "a file takes the output's name at the last moment": faults.output_appears,
    }
    if can_mount(folder / "mountable"):
        kinds |= {
            "the disk is full": lambda: faults.disk_full(rng),
            "the output is on another file system": faults.other_file_system,
            "the output's folder is read-only": faults.read_only_folder,
        }
    for kind, inject in kinds.items():
        for _ in range(rounds):
            note(kind, inject)
        tell(f"done: {kind}")
    return outcomes


# --- the report -------------------------------------------------------------------------------------------------------


def table(titles: tuple[str, str, str], outcomes: Counter[tuple[str, str]]) -> list[str]:
    lines = [f"| {' | '.join(titles)} |", "| --- | --- | ---: |"]
    return lines + [f"| {kind} | {outcome} | {count} |" for (kind, outcome), count in sorted(outcomes.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="mutated files")
    parser.add_argument("--bitstreams", type=int, help="mutated files of a learned codec; half as many as --inputs")
    parser.add_argument("--rounds", type=int, default=20, help="of each fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--samples",
        type=Path,
        default=rare_files.SAMPLES,
        help="folder of the rare files; those are left out without it",
    )
    parser.add_argument("--results", type=Path, default=Path("results/reliability.md"))
    parser.add_argument("--only-bitstreams", action="store_true", help="try those alone, and write no results")
    chosen = parser.parse_args()
    bitstream_count = chosen.inputs // 2 if chosen.bitstreams is None else chosen.bitstreams
    folder = Path(tempfile.mkdtemp(prefix="torture-"))

    def tell(line: str) -> None:
        print(line, flush=True)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it would be ignored
    began = time.monotonic()
    (folder / "inputs").mkdir()
    (folder / "bitstreams").mkdir()
    (folder / "faults").mkdir()
    (folder / "rare").mkdir()
    bitstreams = hostile_bitstreams(bitstream_count, chosen.seed, folder / "bitstreams", tell)
    if chosen.only_bitstreams:
        tell("\n".join(table(("kind", "outcome", "files"), bitstreams)))
        if any(outcome == "FAULT" for _, outcome in bitstreams):
            sys.exit(f"promises broken; the files are in {folder}")
        shutil.rmtree(folder)
        return
    faults = injected_faults(chosen.rounds, chosen.seed, folder / "faults", tell)
    inputs = hostile_inputs(chosen.inputs, chosen.seed, folder / "inputs", tell)
    rare = list(rare_files.outcomes(chosen.samples, folder / "rare")) if chosen.samples.is_dir() else []
    broken = sum(count for (_, outcome), count in (inputs + bitstreams + faults).items() if outcome == "FAULT")
    broken += sum(outcome.startswith("FAULT") for _, outcome in rare)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    total: Counter[str] = Counter()
    for (_, outcome), count in inputs.items():
        total[outcome] += count
    text = [
        "# Reliability",
        "",
        f"Written by `make torture` (seed {chosen.seed}): {inputs.total()} hostile inputs, {bitstreams.total()} "
        f"hostile bitstreams, {faults.total()} injected faults and {len(rare)} rare files, of which {broken} broke "
        f"a promise. It took {time.monotonic() - began:.0f} s; the largest process {peak} MiB.",
        "",
        "## Hostile inputs",
        "",
        "Small MP4, QuickTime, Matroska, AVI, WebM, MPEG-TS (one of them joined of two) and raw H.264 files, changed "
        "at random, each through a whole job that decodes and encodes. Promised: it ends within a minute, in success "
        "or in an error of refilm's own, with nothing under the final name unless it is complete.",
        "",
        "In all: " + ", ".join(f"{outcome} {count}" for outcome, count in sorted(total.items())) + ".",
        "",
        *table(("kind", "outcome", "inputs"), inputs),
        "",
        "## Hostile bitstreams",
        "",
        "Small files of the learned codec that ships, changed in the same ways, and in their coded pictures, which are "
        "also swapped and put into other films. Promised beside the above: each picture that is shown is one of the "
        "whole file, at its own time, and it is said if pictures are missing or differ.",
        "",
        *table(("kind", "outcome", "files"), bitstreams),
        "",
        "## Faults",
        "",
        "Promised: called again, the same job ends with the very video packets of an undisturbed run, and leaves "
        "nothing behind; what has the final name is complete at all times.",
        "",
        *table(("fault", "outcome", "times"), faults),
        "",
        "## Rare files and wishes",
        "",
        "Each through the command. Promised: nothing is lost that the container holds, and what is lost or refused is "
        "said. The outcome is what FFmpeg's programs find in the output, or what the command says.",
        "",
        "| kind | outcome |",
        "| --- | --- |",
        *(f"| {kind} | {outcome} |" for kind, outcome in rare),
    ]
    chosen.results.write_text("\n".join(text) + "\n")
    if broken:
        sys.exit(f"{broken} promises broken; the files are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
