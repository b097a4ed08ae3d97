"""A part of a film is exact to the frame; sound, subtitles, chapters and time code belong to the same moments."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from media import (
    CLIPS,
    even,
    ffprobe,
    flashes_and_beeps,
    frame_hashes,
    irregular,
    lateness,
    packet_hashes,
    probed_times,
    write,
)

import refilm
from refilm.errors import UsageError
from refilm.jobs import job
from refilm.jobs.job import Job, Start
from refilm.jobs.pieces import make_piece
from refilm.jobs.video_file import VideoFile
from refilm.options import Encoding, Running, moment
from refilm.stages.stage import Chain
from refilm.video import Part, VideoReader


def part_of(source, output, **options):
    """A job that changes no picture, without loss."""
    segment = {"segment_frames": options.pop("segment_frames", None)}
    callbacks = {name: options.pop(name) for name in ("on_progress", "warn") if name in options}
    running = Running(threads=1, **options)
    return Job(source, VideoFile(output, Encoding(crf=0)), lambda *_: Chain(()), running=running, **segment).run(
        **callbacks
    )


def test_a_job_leaves_the_program_as_many_threads_as_before(long_film, tmp_path, monkeypatch):
    torch.set_num_threads(2)
    seen = []
    make = job.make_pieces
    monkeypatch.setattr(job, "make_pieces", lambda *given: seen.append(torch.get_num_threads()) or make(*given))
    part_of(long_film, tmp_path / "part.mkv", to_time=1)
    assert (set(seen), torch.get_num_threads()) == ({1}, 2)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory):
    """Twenty seconds with key frames two seconds apart and B-frames."""
    clip = replace(CLIPS["b-frames"], times=even(500, 25), last=Fraction(1, 25), options={"g": "50", "bf": "2"})
    return write(tmp_path_factory.mktemp("long") / "film.mp4", clip).path


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("80", 80), ("1:20", 80), ("90:00", 5400), ("1:30.5", Fraction(181, 2)), ("0:01:20.25", Fraction(321, 4)),
        (80, 80), (1.1, Fraction(11, 10)), (Fraction(1, 3), Fraction(1, 3)),
    ],
)  # fmt: skip
def test_times_may_be_written_as_people_do(text, seconds):
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["", "a", "-1", "1:70", "1:60:00", "1:2:3:4", ":20", "nan", float("inf"), -1])
def test_other_times_are_refused(text):
    with pytest.raises(UsageError, match="wanted a time such as"):
        moment(text)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("begin", "end", "first", "last"),
    [("0.5", "1", 12, 23), (0, 0.55, 0, 13), ("0.51", None, 13, 47), (0.5, 99, 12, 47)],
)
def test_a_part_has_the_very_frames_of_its_times_and_begins_at_0(tmp_path, suffix, begin, end, first, last):
    source = write(tmp_path / f"film{suffix}", replace(CLIPS["b-frames"], suffix=suffix, times=even(48, 24))).path
    report = part_of(source, tmp_path / "out.mp4", from_time=begin, to_time=end)
    assert frame_hashes(tmp_path / "out.mp4") == frame_hashes(source)[first : last + 1]
    assert probed_times(tmp_path / "out.mp4")[0] == 0
    assert report.frames_in == last + 1 - first
    assert report.duration_out == pytest.approx((last + 1 - first) / 24, abs=0.002)


def test_a_part_of_a_film_with_uneven_steps_keeps_them(tmp_path):
    times = irregular(60)
    source = write(tmp_path / "film.mp4", replace(CLIPS["vfr"], times=times)).path
    part_of(source, tmp_path / "out.mp4", from_time=times[7], to_time=times[40])
    assert probed_times(tmp_path / "out.mp4") == pytest.approx([time - times[7] for time in times[7:40]], abs=1e-4)


@pytest.mark.parametrize(("begin", "was_sought"), [(3, False), (7, True), ("12.34", True)])
def test_a_part_is_sought_where_that_is_safe_and_then_the_same(long_film, begin, was_sought):
    with VideoReader(long_film, part=Part(moment(begin), moment(begin) + 1)) as reader:
        assert reader.info.cut.was_sought == was_sought
        frames = list(reader)
    expected = [frame for frame in VideoReader(long_film) if moment(begin) <= frame.time < moment(begin) + 1]
    assert [frame.time for frame in frames] == [frame.time for frame in expected]
    assert all((a.planes[0] == b.planes[0]).all() for a, b in zip(frames, expected, strict=True))


def test_a_stopped_part_goes_on_and_gives_the_same_packets(long_film, tmp_path):
    wanted = {"from_time": 9, "to_time": "0:11.5", "segment_frames": 20}
    part_of(long_film, tmp_path / "whole.mp4", **wanted)
    seen = []

    def stop(progress):
        if progress.frames > 45 and not seen:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="kept the first 40 of 62 frames"):
        part_of(long_film, tmp_path / "out.mp4", on_progress=stop, **wanted)
    with pytest.raises(refilm.JobError, match="part was 9 to 23/2, now is 9 to 12"):
        part_of(long_film, tmp_path / "out.mp4", **wanted | {"to_time": 12})
    part_of(long_film, tmp_path / "out.mp4", on_progress=seen.append, **wanted)
    assert seen[0].resumed_from == 40
    assert packet_hashes(tmp_path / "out.mp4", "v:0") == packet_hashes(tmp_path / "whole.mp4", "v:0")


def test_pieces_of_a_part_can_be_made_elsewhere(long_film, tmp_path):
    running = Running(threads=1, from_time=9, to_time=11)
    job = Job(long_film, VideoFile(tmp_path / "out.mp4", Encoding(crf=0)), make_nothing, running=running)
    specs = replace(job, segment_frames=20).plan()
    assert len(specs) == 3
    for spec in reversed(specs):
        make_piece(spec)
    started: list[Start] = []
    replace(job, segment_frames=20).run(on_start=started.append)
    assert (started[0].frames, started[0].resumed_from) == (50, 50)
    assert frame_hashes(tmp_path / "out.mp4") == frame_hashes(long_film)[225:275]


def make_nothing(*_):
    return Chain(())


@pytest.mark.parametrize("target", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("source", [".mp4", ".mkv", ".ts"])
def test_sound_stays_with_its_picture(tmp_path, source, target):
    options = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "50", "-c:a", "aac")
    film = flashes_and_beeps(tmp_path / f"film{source}", 12, *options)
    output = tmp_path / f"out{target}"
    report = part_of(film, output, from_time="7.3", to_time=10.1)
    found = lateness(output)
    assert len(found) == 3
    assert found == pytest.approx([lateness(film)[0]] * 3, abs=0.003)
    assert report.av_drift == pytest.approx(0, abs=0.001)
    start = {kind: packet_hashes(output, f"{kind}:0") for kind in "va"}
    begin = min(time for time, _ in start["v"])
    assert 0 <= start["a"][0][0] - begin < 0.022, "sound begins with the first packet that lies in the part"
    assert max(time for time, _ in start["a"]) - begin < 2.8
    if target != ".ts":  # whose muxer begins later for its own reasons
        assert begin == 0


def test_subtitles_and_chapters_are_cut_to_the_same_moments(tmp_path):
    seconds = [Fraction(k) for k in range(5)]
    lines = tuple((begin, begin + Fraction(4, 5), f"line {begin}") for begin in seconds[:4])
    clip = replace(
        CLIPS["cfr-24"], suffix=".mkv", times=even(96, 24), subtitles=lines,
        chapters=tuple((begin, begin + 1, f"part {begin}") for begin in seconds[:4]),
    )  # fmt: skip
    source, output = write(tmp_path / "film.mkv", clip).path, tmp_path / "out.mkv"
    part_of(source, output, from_time=1.5, to_time=3.25)
    shown = ffprobe(output, "-select_streams", "s", "-show_entries", "packet=pts_time,duration_time")["packets"]
    assert [(float(each["pts_time"]), float(each["duration_time"])) for each in shown] == [
        (0, pytest.approx(0.3)), (0.5, pytest.approx(0.8)), (1.5, pytest.approx(0.25)),
    ]  # fmt: skip
    chapters = ffprobe(output, "-show_chapters")["chapters"]
    assert [(each["tags"]["title"], float(each["start_time"]), float(each["end_time"])) for each in chapters] == [
        ("part 1", 0, 0.5), ("part 2", 0.5, 1.5), ("part 3", 1.5, 1.75),
    ]  # fmt: skip


def test_the_time_code_moves_with_the_beginning(tmp_path):
    clip = replace(CLIPS["cfr-24"], suffix=".mkv", times=even(96, 24), metadata={"timecode": "09:59:59:20"})
    source = write(tmp_path / "film.mkv", clip).path
    part_of(source, tmp_path / "out.mkv", from_time=2)
    tags = ffprobe(tmp_path / "out.mkv", "-show_entries", "format_tags")["format"]["tags"]
    assert {key.lower(): value for key, value in tags.items()}["timecode"] == "10:00:01:20"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"from_time": 60}, "ends before 60 s"),
        ({"from_time": "0.501", "to_time": "0.502"}, "shows no new frame from 0.501 to 0.502 s"),
    ],
)
def test_a_part_without_frames_is_refused_before_the_work(media, tmp_path, wanted, message):
    with pytest.raises(refilm.VideoError, match=message):
        part_of(media("cfr-24").path, tmp_path / "out.mp4", **wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_part_ends_after_it_begins():
    with pytest.raises(UsageError, match="--from must be before --to, got 5 and 0:05"):
        Running(from_time=5, to_time="0:05")
