"""What users are told about sources that are not what they seem; repeats and gaps in whole jobs."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import replace
from fractions import Fraction

import pytest
from media import CLIPS, even, frame_hashes, on_twos, packet_hashes, probed_times, pulled_down, tool, write

import refilm
from refilm.jobs.job import Job
from refilm.jobs.pieces import make_piece
from refilm.jobs.video_file import VideoFile
from refilm.options import Encoding, Interpolate, Running
from refilm.stages.table import TaskStages, Work
from refilm.tasks import TASKS

PLAIN = CLIPS["cfr-24"].options


def smooth(source, output, **options):
    warnings = []
    options = {"times": 2, "codec": "ffv1"} | options
    return refilm.interpolate(source, output, model="flow-blend", warn=warnings.append, **options), warnings


def film(folder, name, **changes):
    return write(folder / name, replace(CLIPS["cfr-24"], **changes)).path


def test_telecined_film_is_told_with_the_command_that_mends_it(tmp_path):
    ntsc = Fraction(30000, 1001)
    clip = {"times": even(30, ntsc), "last": 1 / ntsc, "pictures": pulled_down(30), "options": PLAIN | {"qp": "10"}}
    source = film(tmp_path, "it's.mp4", **clip, width=192, height=128)
    report, warnings = smooth(source, tmp_path / "out.mkv")
    (told,) = (warning for warning in warnings if "telecined" in warning)
    assert told in report.warnings
    assert "do not deinterlace" in told
    command = shlex.split(told[told.index("ffmpeg ") :].replace("OUT.mkv", shlex.quote(str(tmp_path / "mended.mkv"))))
    tool(*command[:1], "-v", "error", *command[1:])
    mended = probed_times(tmp_path / "mended.mkv")
    assert len(mended) == 24
    _, warnings = smooth(tmp_path / "mended.mkv", tmp_path / "again.mkv")
    assert not any("telecined" in warning or "interlaced" in warning for warning in warnings)


def test_interlaced_video_that_says_it_is_not_is_told(tmp_path):
    pictures = tuple((2 * n, 2 * n + 1) for n in range(14))
    source = film(tmp_path, "in.mp4", times=even(14, 25), pictures=pictures, width=192, height=128)
    report, warnings = smooth(source, tmp_path / "out.mkv")
    (told,) = (warning for warning in warnings if "is interlaced" in warning)
    assert "bwdif" in told
    assert told in report.warnings


def test_drawings_on_twos_are_told_and_even_with_the_option(tmp_path):
    source = film(tmp_path, "in.mp4", pictures=on_twos(24))
    report, warnings = smooth(source, tmp_path / "uneven.mkv")
    (told,) = (warning for warning in warnings if "--drop-repeats" in warning)
    assert "12 of 24 frames" in told
    assert told in report.warnings

    report, warnings = smooth(source, tmp_path / "even.mkv", drop_repeats=True)
    assert not warnings
    assert (report.frames_out, report.frames_kept, report.frames_left_out) == (47, 12, 12)
    assert probed_times(tmp_path / "even.mkv") == probed_times(tmp_path / "uneven.mkv")
    shown = frame_hashes(tmp_path / "even.mkv")
    assert shown[:-2:4] == frame_hashes(source)[::2], "the drawings stay what and when they are"
    assert all(a != b for a, b in itertools.pairwise(shown[:45])), "and nothing is shown twice but at the end"


def test_moving_film_is_not_advised(media, tmp_path):
    assert not smooth(media("cfr-24").path, tmp_path / "out.mkv")[1]


@pytest.mark.parametrize("drop_repeats", [False, True])
def test_a_stopped_job_goes_on_to_the_same_packets(tmp_path, drop_repeats):
    source = film(tmp_path, "in.mp4", times=even(50, 24), pictures=on_twos(50), scenes=(15, 33))
    work = Work(TASKS["interpolation"], "flow-blend", None, Interpolate(times=2, drop_repeats=drop_repeats))

    def job_on(output):
        settings, stages = {"interpolate": work.settings}, TaskStages((work,), "cpu")
        sink = VideoFile(output, Encoding(preset="ultrafast"))
        return Job(source, sink, stages, settings, running=Running(threads=1), segment_frames=16)

    job_on(tmp_path / "undisturbed.mp4").run()

    def stop(progress):
        if progress.frames > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job_on(tmp_path / "out.mp4").run(stop)
    seen = []
    report = job_on(tmp_path / "out.mp4").run(seen.append)
    assert seen[0].resumed_from == 16
    assert packet_hashes(tmp_path / "out.mp4", "v:0") == packet_hashes(tmp_path / "undisturbed.mp4", "v:0")
    assert (report.frames_left_out > 20) == drop_repeats
    made_elsewhere = job_on(tmp_path / "pieces.mp4")
    for spec in reversed(made_elsewhere.plan()):
        make_piece(spec)
    told = made_elsewhere.run().warnings
    assert any("--drop-repeats" in warning for warning in told) != drop_repeats
    assert packet_hashes(tmp_path / "pieces.mp4", "v:0") == packet_hashes(tmp_path / "undisturbed.mp4", "v:0")


def test_a_recording_that_stands_still_is_held_until_shortly_before_the_change(tmp_path):
    times = (*even(8, 30), *even(8, 30, Fraction(3)))
    source = film(tmp_path, "in.mp4", times=times, last=Fraction(1, 30))
    smooth(source, tmp_path / "twice.mp4", codec="libx264", crf=0, preset="ultrafast")
    shown = probed_times(tmp_path / "twice.mp4")
    assert [time for time in shown if times[7] <= time <= 3] == [times[7], 3 - Fraction(1, 60), 3]
    report, _ = smooth(source, tmp_path / "even.mkv", times=None, fps=60)
    held = frame_hashes(tmp_path / "even.mkv")[14:179]
    assert len(set(held)) == 1
    assert report.frames_repeated >= len(held) - 1


@pytest.mark.parametrize(("rate", "is_ntsc"), [(Fraction(30000, 1001), True), (Fraction(25), False)])
def test_who_is_refused_for_fields_hears_of_pulldown_where_it_is_usual(tmp_path, rate, is_ntsc):
    source = film(tmp_path, "in.mp4", times=even(6, rate), last=1 / rate, options=PLAIN | {"flags": "+ilme+ildct"})
    with pytest.raises(refilm.VideoError, match="bwdif") as refusal:
        smooth(source, tmp_path / "out.mkv")
    assert ("fieldmatch,decimate" in str(refusal.value)) == is_ntsc
