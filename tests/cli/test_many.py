"""One command, many inputs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from media import CLIPS, even, probed_times, write

from refilm.cli.main import run

COMMAND = ["interpolate", "--model", "flow-blend", "--preset", "ultrafast"]


def touch(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return [folder / name for name in names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.mp4"], "wanted IN OUT, or IN ... --output-dir FOLDER; got 1 path"),
        (["a.mp4", "b.mp4", "c.mp4"], "got 3 paths"),
        (["a.mp4", "b.mp4", "--jobs", "2"], "--suffix and --jobs go with --output-dir"),
        (["a.mp4", "--output-dir", "o", "--jobs", "0"], "jobs must be at least 1, got 0"),
    ],
)
def test_the_two_forms_of_the_command_are_told_apart(arguments, message, capsys):
    assert run(["interpolate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_with_auto_a_film_that_asks_for_nothing_gets_no_output(tmp_path, capsys):
    source = tmp_path / "in.mkv"
    clip = replace(CLIPS["two-scenes"], suffix=".mkv", times=even(2, 24), codec="ffv1", options={}, scenes=())
    write(source, replace(clip, width=1040, height=24))  # too wide to be enlarged, too low to be judged
    assert run(["enhance", str(source), "--auto", "--output-dir", str(tmp_path / "out")]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_one_failure_stops_no_other_and_what_is_finished_is_not_done_again(media, tmp_path, capsys):
    day, out = tmp_path / "day", tmp_path / "out"
    touch(day, "broken.mp4")
    shutil.copy(media("cfr-24").path, day / "a; $(b).mp4")
    command = [*COMMAND, str(day), "--output-dir", str(out), "--jobs", "2"]
    assert run([*command, "--json"]) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    jobs = {Path(job["source"]).name: job for job in events[-1]["jobs"]}
    assert events[-1]["event"] == "summary"
    assert {name: job["state"] for name, job in jobs.items()} == {"a; $(b).mp4": "done", "broken.mp4": "failed"}
    assert "not a video file" in jobs["broken.mp4"]["message"]
    assert (jobs["a; $(b).mp4"]["frames_in"], jobs["a; $(b).mp4"]["frames_out"]) == (24, 47)
    assert len(probed_times(out / "a; $(b).mp4")) == 47
    assert all("input" in event for event in events[:-1])

    shutil.copy(media("one-frame").path, day / "broken.mp4")
    made = (out / "a; $(b).mp4").stat().st_mtime_ns
    assert run(command) == 0
    told = capsys.readouterr().err
    assert "2 done" in told
    assert told.count("made it before") == 1
    assert (out / "a; $(b).mp4").stat().st_mtime_ns == made
    assert len(probed_times(out / "broken.mp4")) == 1


def test_ctrl_c_stops_all_and_the_same_command_goes_on(tmp_path):
    long = replace(CLIPS["b-frames"], times=even(200, 24))
    sources = [write(tmp_path / name, long).path for name in ("a.mp4", "b.mp4", "c.mp4")]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "refilm.cli.main", *COMMAND, *map(str, sources), "--output-dir", str(out)]
    process = subprocess.Popen([*command, "--times", "8", "--jobs", "2"], stderr=subprocess.PIPE, text=True)
    while len(list(out.glob("*.refilm/0*.json"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "3 stopped" in told
    assert "run the same command again" in told
    assert "Traceback" not in told
    assert not list(out.glob("*.mp4"))
    left = {folder.name for folder in out.iterdir()}
    assert left == {"a.mp4.refilm", "b.mp4.refilm"}
    assert not _running_on(out)


def _running_on(folder: Path) -> list[str]:
    """Processes that still have a file in `folder` open."""
    found = []
    for handles in Path("/proc").glob("[0-9]*/fd"):
        try:
            found += [link for handle in handles.iterdir() if str(folder) in (link := os.readlink(handle))]
        except OSError:
            continue  # ended meanwhile, or not ours to look at
    return found
