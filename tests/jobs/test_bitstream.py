"""A codec of the tests' own: from a film to a bitstream, and from that to a film again."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from media import frame_hashes
from toys.codec import Compress, Squeeze

import refilm
from refilm.jobs.bitstream import MAGIC
from refilm.jobs.bitstream_file import BitstreamFile
from refilm.jobs.bitstream_reader import BitstreamReader
from refilm.jobs.job import Job
from refilm.jobs.video_file import VideoFile
from refilm.models import MODELS, Model, create_model
from refilm.options import Encoding, Running
from refilm.stages.stage import Chain

KEYS = 8  # frames from key picture to key picture: segments of the job that compresses


@pytest.fixture(scope="module", autouse=True)
def table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "squeeze", Model("compression", lambda: (Squeeze, None), learned=False))
        yield


@pytest.fixture(scope="module")
def source(media):
    """Of a varying rate, and beginning late; with sound."""
    return media("audio-late-start").path


def compression(source, path):
    model = create_model("squeeze")
    return Job(source, BitstreamFile(path, "squeeze"), lambda info, tile: Compress(model), segment_frames=KEYS)


def decompression(bitstream, path):
    """Into a lossless file, in segments that are not those of the bitstream."""
    sink = VideoFile(path, Encoding(codec="libx264", crf=0))
    return Job(bitstream, sink, lambda info, tile: Chain([]), segment_frames=10, running=Running(scene_cuts=False))


@pytest.fixture(scope="module")
def bitstream(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("bitstream") / "film.bits"
    report = compression(source, path).run()
    assert report.warnings == ["stream 1 audio aac eng is left out: a bitstream holds pictures alone"]
    return path


def interrupted(job, frames):
    """The report of a job that was stopped when so many frames were done, and called again."""

    def stop(progress):
        if progress.frames >= frames:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(on_progress=stop)
    seen = []
    report = job.run(on_progress=seen.append)
    assert seen[0].resumed_from > 0
    return report


def test_a_film_that_went_through_a_bitstream_has_its_frames_times_and_colours(source, bitstream, tmp_path):
    decompression(bitstream, tmp_path / "out.mp4").run()
    before, after = list(refilm.open(source)), list(refilm.open(tmp_path / "out.mp4"))
    assert [(frame.time, frame.duration) for frame in before] == [(frame.time, frame.duration) for frame in after]
    assert len({later.time - frame.time for frame, later in pairwise(before)}) > 3, "its rate varies"
    for frame, other in zip(before, after, strict=True):
        luma, *chroma = (abs(a.astype(int) - b).max() for a, b in zip(frame.planes, other.planes, strict=True))
        assert luma == 0
        assert max(chroma) <= 1, "to rounding"
    one, two = refilm.probe(source), refilm.probe(tmp_path / "out.mp4")
    assert (one.tags, one.colour, one.pix_fmt) == (two.tags, two.colour, two.pix_fmt)


def test_interrupted_and_called_again_the_bitstream_and_what_is_made_of_it_are_the_same(source, bitstream, tmp_path):
    interrupted(compression(source, tmp_path / "film.bits"), 12)
    assert (tmp_path / "film.bits").read_bytes() == bitstream.read_bytes()
    decompression(bitstream, tmp_path / "whole.mp4").run()
    interrupted(decompression(bitstream, tmp_path / "parts.mp4"), 12)
    assert frame_hashes(tmp_path / "parts.mp4") == frame_hashes(tmp_path / "whole.mp4")


def frames(path):
    """(time, picture) of what can be decoded, and what was lost."""
    with BitstreamReader(path) as reader:
        return [(frame.time, *(plane.tobytes() for plane in frame.planes)) for frame in reader], reader.losses


def pictures(path):
    """Where the description of each picture begins in the file, and where its bytes do and end."""
    content, places, start = path.read_bytes(), [], 0
    while (start := content.find(b'{"time"', start)) >= 0:
        description, length = json.JSONDecoder().raw_decode(content[start : start + 1000].decode("latin-1"))
        places.append((start, start + length, start + length + description["bytes"]))
        start += length
    return places


def changed(path, place, to):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    to.write_bytes(content)
    return to


@pytest.mark.parametrize("picture", [0, 3, 8, 13, 23, 29])
@pytest.mark.parametrize("part", ["before", "description", "data"])
def test_a_damaged_byte_loses_no_picture_beyond_the_next_key_picture(bitstream, tmp_path, picture, part):
    whole, _ = frames(bitstream)
    places = pictures(bitstream)
    assert len(places) == len(whole) == 30
    description, data, end = places[picture]
    place = {"before": description - 3, "description": description + 12, "data": (data + end) // 2}[part]
    rest, losses = frames(changed(bitstream, place, tmp_path / "damaged.bits"))
    next_key = min(-(-(picture + 1) // KEYS) * KEYS, 30)
    assert rest == whole[:picture] + whole[next_key:]
    assert losses.damaged_packets == next_key - picture


# the one after the last frame of the second job's first segment, and others
@pytest.mark.parametrize("picture", [3, 10, 13])
def test_what_was_lost_is_told_once_also_by_a_job_that_was_interrupted(bitstream, tmp_path, picture):
    _, place, _ = pictures(bitstream)[picture]
    damaged = changed(bitstream, place, tmp_path / "damaged.bits")
    lost = -(-picture // KEYS) * KEYS - picture
    told = [f"{lost} damaged packets of the source could not be decoded"]
    whole = decompression(damaged, tmp_path / "whole.mp4").run()
    assert (whole.warnings, whole.frames_in) == (told, 30 - lost)
    parts = interrupted(decompression(damaged, tmp_path / "parts.mp4"), 12)
    assert (parts.warnings, parts.frames_in) == (told, 30 - lost)
    assert frame_hashes(tmp_path / "parts.mp4") == frame_hashes(tmp_path / "whole.mp4")


@pytest.mark.parametrize("where", ["before a picture", "within one"])
def test_an_end_that_is_missing_is_told(bitstream, tmp_path, where):
    whole, _ = frames(bitstream)
    content, (description, data, end) = bitstream.read_bytes(), pictures(bitstream)[20]
    cut = tmp_path / "cut.bits"
    cut.write_bytes(content[: description - 12 if where == "before a picture" else (data + end) // 2])
    rest, losses = frames(cut)
    assert rest == whole[:20]
    assert losses.missing_seconds > 0.3
    assert "ends" in losses.warnings()[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content.replace(MAGIC, b"refilm bitstream 2\n"), "cannot be read|not a video file"),
        (lambda content: content[: len(MAGIC)], "breaks off before its first picture"),
        (lambda content: content[: len(MAGIC) + 200], "is damaged, or breaks off before its first picture"),
        (lambda content: content[:1200], "none of its pictures can be decoded"),
        (lambda content: content.replace(b'"squeeze"', b'"squeezr"'), "is damaged, or breaks off"),
    ],
)
def test_what_is_no_bitstream_or_too_little_of_one_is_refused(bitstream, tmp_path, damage, message):
    source = tmp_path / "other.bits"
    source.write_bytes(damage(bitstream.read_bytes()))
    with pytest.raises(refilm.VideoError, match=message):
        decompression(source, tmp_path / "out.mp4").run()
    assert list(tmp_path.iterdir()) == [source]


def test_a_bitstream_of_a_codec_or_weights_that_are_not_here_is_refused(bitstream, tmp_path, monkeypatch):
    monkeypatch.setitem(
        MODELS, "squeeze", Model("compression", lambda: (Squeeze, None), weights="squeeze-12345678.safetensors")
    )
    with pytest.raises(refilm.VideoError, match="made with the weights None, and here there are squeeze-12345678"):
        decompression(bitstream, tmp_path / "out.mp4").run()
    monkeypatch.delitem(MODELS, "squeeze")
    with pytest.raises(refilm.VideoError, match="was made by squeeze, which this refilm does not have"):
        decompression(bitstream, tmp_path / "out.mp4").run()
