"""A copy with chapters of its own has every packet of the film."""

from __future__ import annotations

from fractions import Fraction

import pytest
from media import ffprobe, packet_hashes

import refilm
from refilm.errors import VideoError
from refilm.video import VideoReader
from refilm.video.companions import StreamPolicy
from refilm.video.rechaptering import Chapter

HALF, COPY = Fraction(1, 2), StreamPolicy()
CHAPTERS = [Chapter(Fraction(0), HALF, "waving; with = signs"), Chapter(HALF, Fraction(1), "Grüße")]


def copy(source, target, policy=COPY, chapters=CHAPTERS):
    told = []
    name = {".mkv": "matroska", ".mp4": "mp4", ".ts": "mpegts", ".webm": "webm"}[target.suffix]
    with VideoReader(source) as reader:
        reader.rehearse_copy(policy, target, name, told.append)
        assert not target.exists()
        reader.copy_with_chapters(chapters, policy, target, name, told.append)
    return told


@pytest.mark.parametrize(("name", "suffix"), [("cfr-24", ".mkv"), ("b-frames", ".mp4"), ("vfr-mkv", ".mkv")])
def test_chapters_are_read_by_ffprobe_and_packets_are_those_of_the_source(media, tmp_path, name, suffix):
    source, target = media(name).path, tmp_path / f"out{suffix}"
    assert copy(source, target) == []
    chapters = ffprobe(target, "-show_chapters")["chapters"]
    assert [chapter["tags"]["title"] for chapter in chapters] == [chapter.title for chapter in CHAPTERS]
    assert [(float(c["start_time"]), float(c["end_time"])) for c in chapters] == [(0, 0.5), (0.5, 1)]
    assert [packet for _, packet in packet_hashes(target, "v:0")] == [p for _, p in packet_hashes(source, "v:0")]
    times = [[frame.time for frame in refilm.open(path)] for path in (source, target)]
    assert times[1] == pytest.approx(times[0], abs=0.001)


def test_sound_subtitles_attachments_and_descriptions_come_along_and_old_chapters_do_not(media, tmp_path):
    source, target = media("companions-mkv"), tmp_path / "out.mkv"
    told = copy(source.path, target)
    assert [words for words in told if "chapters" in words] == told
    before, after = (ffprobe(path, "-show_streams") for path in (source.path, target))
    kinds = [sorted(stream["codec_type"] for stream in found["streams"]) for found in (before, after)]
    assert kinds[0] == kinds[1]
    for stream in ("v:0", "a:0"):
        assert [p for _, p in packet_hashes(target, stream)] == [p for _, p in packet_hashes(source.path, stream)]
    assert len(ffprobe(target, "-show_chapters")["chapters"]) == 2


def test_a_rotated_film_stays_rotated(media, tmp_path):
    copy(media("rotated").path, tmp_path / "out.mp4")
    assert refilm.probe(tmp_path / "out.mp4").rotation == refilm.probe(media("rotated").path).rotation != 0


def test_a_film_that_begins_before_0_is_moved_with_its_chapters(media, tmp_path):
    source, target = media("start-early").path, tmp_path / "out.mkv"
    start = refilm.probe(source).start_time
    told = copy(source, target, chapters=[Chapter(start, start + HALF, "first")])
    assert any("moved to 0" in words for words in told) == (start < 0)
    (chapter,) = ffprobe(target, "-show_chapters")["chapters"]
    assert float(chapter["start_time"]) == max(float(start), 0)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_chapters_lie_where_the_film_shows_what_they_name(media, tmp_path, suffix):
    source, target = media("start-late").path, tmp_path / f"out{suffix}"
    start = refilm.probe(source).start_time
    assert start == Fraction(3, 2)
    copy(source, target, chapters=[Chapter(start, start + HALF, "first"), Chapter(start + HALF, start + 1, "second")])
    found = ffprobe(target, "-show_chapters")["chapters"]
    assert [(c["tags"]["title"], float(c["start_time"])) for c in found] == [("first", 0), ("second", 2)]
    copy(source, tmp_path / f"part{suffix}", chapters=[Chapter(start + HALF, start + 1, "second")])
    found = ffprobe(tmp_path / f"part{suffix}", "-show_chapters")["chapters"]
    assert [(c["tags"].get("title", ""), float(c["start_time"])) for c in found] == [("", 0), ("second", 2)]


def test_what_a_container_cannot_hold_is_told_before_the_work(media, tmp_path):
    with pytest.raises(VideoError, match=r"mpegts has no chapters; write to .mkv or .mp4"):
        copy(media("cfr-24").path, tmp_path / "out.ts")
    with pytest.raises(VideoError, match=r"webm cannot hold stream 0 video h264.* as it is; write to .mkv"):
        copy(media("cfr-24").path, tmp_path / "out.webm")
    with pytest.raises(VideoError, match=r"mp4 cannot hold .*attachment.*--drop-streams"):
        copy(media("companions-mkv").path, tmp_path / "out.mp4")
    assert copy(media("companions-mkv").path, tmp_path / "out.mp4", StreamPolicy(drop_streams=True))
