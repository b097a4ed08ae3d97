"""What happens in a film, into files of each kind and to a program; jobs that are stopped go on where they were."""

from __future__ import annotations

import csv
import json
import re
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from media import ffprobe, packet_hashes
from toys import shade
from toys.films import write_levels

import refilm
from refilm.errors import UsageError, VideoError
from refilm.jobs.job import Job
from refilm.jobs.pieces import make_piece
from refilm.jobs.timeline import FORMS, timeline_sink
from refilm.jobs.timeline_picture import Card, draw
from refilm.models import MODELS
from refilm.options import Recognize, Running
from refilm.stages.snippets import chosen, clip_of, reduced
from refilm.stages.table import PicturedStages, TaskStages, Work
from refilm.stages.timeline import Event, Label
from refilm.tasks import TASKS

# Two shots: dark for 1.6 s, bright for 2.4 s; 25 frames a second.
LEVELS = [30] * 40 + [225] * 60
SHADE = {"model": "shade"}


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setitem(MODELS, "shade", shade.ROW)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_levels(tmp_path_factory.mktemp("films") / "film.mkv", LEVELS, (48, 64))


def spans(events):
    return [(event.start, event.end, event.label) for event in events]


def test_a_film_becomes_a_list_of_events_and_no_file(film):
    events = refilm.recognize(film, **SHADE)
    assert [(event.start, event.end) for event in events] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [events[place].label for place in (0, 2, 3)] == ["dark", "bright", "bright"]
    assert all(type(event) is Event and type(event.start) is Fraction for event in events)
    assert [label for label, _ in events[0].labels] == ["dark", "gray", "bright"]
    assert all(sum(score for _, score in event.labels) == pytest.approx(1, abs=1e-5) for event in events)
    assert [path.name for path in film.parent.iterdir()] == ["film.mkv"]


def test_shots_lengths_and_numbers_of_labels_are_as_asked(film):
    assert spans(refilm.recognize(film, shots=True, **SHADE)) == [
        (0, Fraction(8, 5), "dark"),
        (Fraction(8, 5), 4, "bright"),
    ]
    assert [event.end for event in refilm.recognize(film, "3s", **SHADE)] == [3, 4]
    assert {len(event.labels) for event in refilm.recognize(film, topk=2, **SHADE)} == {2}
    part = refilm.recognize(film, from_time=2, to_time=3, **SHADE)
    assert spans(part) == [(2, 3, "bright")], "times are the film's"


def test_windows_lie_on_a_grid_from_the_first_time_stamp_whatever_the_frame_rate(media):
    source = media("start-late")  # at 1.5 s, of which a player shows nothing
    events = refilm.recognize(source.path, every="0.5", **SHADE)
    assert [(event.start, event.end) for event in events] == [(0, Fraction(1, 2)), (Fraction(1, 2), 1)]
    vfr = media("vfr")
    events = refilm.recognize(vfr.path, **SHADE)
    assert events[0].start == 0
    assert events[-1].end == vfr.times[-1] + vfr.duration - vfr.times[0]
    assert all(event.start.denominator == 1 for event in events)


@pytest.fixture
def seen(monkeypatch):
    """The frames of each clip that the model is shown."""
    clips = []
    monkeypatch.setattr("refilm.stages.recognize.clip_of", lambda frames: clips.append(frames) or clip_of(frames))
    return clips


def test_the_frames_of_a_window_are_those_on_the_screen_at_its_times(media, seen):
    source = media("vfr").path
    refilm.recognize(source, every="0.25", **SHADE)
    times = [frame.time for frame in refilm.open(source)]
    first = chosen(shade.Shade.sampling, times, times[0], times[0] + Fraction(1, 4))
    assert [frame.time for frame in seen[0]] == [times[place] for place in first]


def test_a_film_of_one_frame_and_a_picture_are_one_event(media, tmp_path):
    assert spans(refilm.recognize(media("one-frame").path, **SHADE))[0][:2] == (0, Fraction(1, 24))
    cv2.imwrite(str(tmp_path / "white.png"), np.full((20, 30, 3), 255, np.uint8))
    (event,) = refilm.recognize(tmp_path / "white.png", **SHADE)
    assert event.label == "bright"


def test_interlaced_film_is_taken_as_it_is(media):
    assert refilm.recognize(media("interlaced").path, **SHADE)


def test_a_rotated_film_is_seen_upright(media, seen):
    source = media("rotated").path
    refilm.recognize(source, **SHADE)
    rotation = refilm.probe(source).rotation
    assert rotation % 180
    frame = next(frame for frame in refilm.open(source) if frame.time == seen[0][0].time)
    upright = reduced(frame, 8, 12, rotation)
    assert all((a == b).all() for a, b in zip(seen[0][0].planes, upright.planes, strict=True))
    assert not all((a == b).all() for a, b in zip(upright.planes, reduced(frame, 8, 12).planes, strict=True))


def test_a_table_has_a_row_for_each_label(film, tmp_path):
    report = refilm.timeline(film, tmp_path / "out.csv", topk=2, **SHADE)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    events = refilm.recognize(film, topk=2, **SHADE)
    assert [(float(r["start"]), float(r["end"]), int(r["rank"]), r["label"], float(r["score"])) for r in rows] == [
        (float(event.start), float(event.end), rank, label, score)
        for event in events
        for rank, (label, score) in enumerate(event.labels, 1)
    ]
    assert (report.frames_in, report.events, report.makes_events) == (100, 4, True)
    assert (report.settings["recognize"]["model"], report.encoder) == ("shade", {"format": "csv"})
    assert (tmp_path / "out.csv.json").exists()


def test_lines_of_json_are_the_events(film, tmp_path):
    refilm.timeline(film, tmp_path / "out.jsonl", **SHADE)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == [event.as_json() for event in refilm.recognize(film, **SHADE)]


def test_subtitles_are_read_by_ffmpeg_and_join_what_is_alike(film, tmp_path):
    refilm.timeline(film, tmp_path / "out.srt", **SHADE)
    text = (tmp_path / "out.srt").read_text()
    blocks = text.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [str(n + 1) for n in range(len(blocks))]
    assert re.fullmatch(r"00:00:00,000 --> 00:00:01,000\ndark \(\d+%\)", "\n".join(blocks[0].splitlines()[1:]))
    with av.open(str(tmp_path / "out.srt")) as container:
        (stream,) = container.streams.subtitles
        packets = [packet for packet in container.demux(stream) if packet.size]
        ends = [float((packet.pts + packet.duration) * packet.time_base) for packet in packets]
    assert ends[-1] == 4
    assert len(packets) == len(blocks) <= 3


def test_a_copy_has_chapters_named_by_labels_and_the_films_own_packets(film, media, tmp_path):
    refilm.timeline(film, tmp_path / "out.mkv", shots=True, **SHADE)
    chapters = ffprobe(tmp_path / "out.mkv", "-show_chapters")["chapters"]
    assert [(c["tags"]["title"], float(c["start_time"]), float(c["end_time"])) for c in chapters] == [
        ("dark", 0, 1.6),
        ("bright", 1.6, 4),
    ]
    assert packet_hashes(tmp_path / "out.mkv", "v:0") == packet_hashes(film, "v:0")
    late = media("start-late").path  # at 1.5 s
    refilm.timeline(late, tmp_path / "late.mp4", every="0.5", **SHADE)
    chapters = ffprobe(tmp_path / "late.mp4", "-show_chapters")["chapters"]
    assert float(chapters[-1]["end_time"]) == 2.5, "on the film's own clock"


def test_a_picture_has_a_card_for_each_event(film, tmp_path):
    refilm.timeline(film, tmp_path / "out.png", shots=True, **SHADE)
    picture = cv2.imread(str(tmp_path / "out.png"))
    half = picture.shape[1] // 2
    middle = picture[60:80, :, 0]
    assert middle[:, half // 2].max() < 60, "dark"
    assert middle[:, half + half // 2].min() > 200, "bright"


@pytest.mark.parametrize("shape", [0.2, 16 / 9, 5.0])
def test_a_picture_takes_any_film_and_any_label(film, shape):
    jpeg = cv2.imencode(".jpg", np.full((8, 12, 3), 200, np.uint8))[1].tobytes()
    event = Event(Fraction(3600), Fraction(7261, 2), (Label("a label that is far too long for a card, Grüße", 1.0),))
    for count in (1, 6, 7):
        data = draw([Card(event, jpeg)] * count, shape)
        width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[1]
        assert width == 240 * min(count, 6)


def job(film, path, form=None, segment_frames=16, **own):
    work = Work(TASKS["recognition"], "shade", "default", Recognize(**own))
    sink = timeline_sink(path, work, form, drop_streams=False)
    return Job(
        source=film,
        sink=sink,
        make_stage=(PicturedStages if sink.form == "png" else TaskStages)((work,), "cpu"),
        settings={"recognize": work.settings},
        running=Running(scene_cuts=work.options.shots, threads=1),
        segment_frames=segment_frames,
    )


@pytest.mark.parametrize(("ending", "own"), [("csv", {}), ("srt", {}), ("png", {"shots": True})])
def test_a_job_goes_on_where_it_was_killed_and_gives_the_same_bytes(film, tmp_path, ending, own):
    def kill(progress):
        if progress.frames > 50:
            raise KeyboardInterrupt

    undisturbed = job(film, tmp_path / f"whole.{ending}", **own)
    undisturbed.run()
    disturbed = job(film, tmp_path / f"out.{ending}", **own)
    with pytest.raises(KeyboardInterrupt):
        disturbed.run(on_progress=kill)
    assert not disturbed.sink.path.exists()
    seen = []
    disturbed.run(on_progress=seen.append)
    assert seen[0].resumed_from >= 16
    assert disturbed.sink.path.read_bytes() == undisturbed.sink.path.read_bytes()


@pytest.mark.parametrize("own", [{}, {"shots": True}, {"every": "2.5"}])
def test_results_do_not_depend_on_the_segments_nor_on_who_made_them(film, tmp_path, own):
    expected = [event.as_json() for event in refilm.recognize(film, **own, **SHADE)]
    for frames in (16, 23, 200):
        path = tmp_path / f"{frames}.jsonl"
        job(film, path, segment_frames=frames, **own).run()
        assert [json.loads(line) for line in path.read_text().splitlines()] == expected
    elsewhere = job(film, tmp_path / "elsewhere.jsonl", **own)
    for spec in reversed(elsewhere.plan()):
        make_piece(spec)
    elsewhere.run()
    assert elsewhere.sink.path.read_bytes() == path.read_bytes()


def test_bad_input_is_told_in_one_line(media, broken, film, tmp_path, monkeypatch):
    for message, kind, call in (
        ("no such file", VideoError, lambda: refilm.recognize(tmp_path / "missing.mp4", **SHADE)),
        ("no video stream", VideoError, lambda: refilm.recognize(broken("audio-only"), **SHADE)),
        ("flow-blend is a model for interpolation", UsageError, lambda: refilm.recognize(film, model="flow-blend")),
        ("every is the length of windows", UsageError, lambda: refilm.recognize(film, every=0, **SHADE)),
        ("wanted a time such as", UsageError, lambda: refilm.recognize(film, every="often", **SHADE)),
        ("give one of them", UsageError, lambda: refilm.recognize(film, every=2, shots=True, **SHADE)),
        ("topk must be at least 1", UsageError, lambda: refilm.recognize(film, topk=0, **SHADE)),
        ("--no-scene-cuts", UsageError, lambda: refilm.recognize(film, shots=True, scene_cuts=False, **SHADE)),
        ("--preview", UsageError, lambda: refilm.recognize(film, preview=5, **SHADE)),
        ("cannot tell what to write", UsageError, lambda: refilm.timeline(film, tmp_path / "out.doc", **SHADE)),
        ("form is one of csv", UsageError, lambda: refilm.timeline(film, tmp_path / "a", form="doc", **SHADE)),
        ("needs the whole picture", UsageError, lambda: refilm.recognize(film, tile=64, **SHADE)),
        ("mpegts has no chapters", VideoError, lambda: refilm.timeline(film, tmp_path / "out.ts", **SHADE)),
    ):
        with pytest.raises(kind, match=re.escape(message)) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="did you mean 'topk'"):
        refilm.recognize(film, topc=3, **SHADE)


def test_each_form_has_a_name():
    assert set(FORMS) == {"csv", "jsonl", "srt", "png", "chapters"}
