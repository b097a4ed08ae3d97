"""From a film to the file of a learned codec, and from that to a film again, by a codec of the tests' own."""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from media import frame_hashes, probed_streams
from toys.codec import Squeeze

import refilm
import refilm.api
import refilm.jobs.planning
from refilm.models import MODELS, Model
from refilm.stages.coded_pictures import CodedPictures
from refilm.video import VideoReader
from refilm.video.coded import Picture, is_coded, packet_of, placed
from refilm.video.coded_file import CodedFile
from refilm.video.part import Part

KEYS = 8  # frames from key picture to key picture


@pytest.fixture(scope="module", autouse=True)
def table():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "squeeze", Model("compression", lambda: (Squeeze, None), learned=False))
        yield


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(refilm.api, "SEGMENT", KEYS)
    for name in ("SHORTEST", "LONGEST"):
        monkeypatch.setattr(refilm.jobs.planning, name, 10)  # not those of the bitstream


@pytest.fixture(scope="module")
def source(media):
    """Of a varying rate, and beginning late; with sound."""
    return media("audio-late-start").path


def compression(source, path, **options):
    return refilm.encode(source, path, model="squeeze", quality=1, gop=KEYS, scene_cuts=False, **options)


def decompression(bitstream, path, **options):
    """Into a lossless file."""
    return refilm.decode(bitstream, path, **{"codec": "libx264", "crf": 0} | options)


@pytest.fixture(scope="module")
def bitstream(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("bitstream") / "film.rfv"
    report = compression(source, path)
    assert report.warnings == []
    return path


def interrupted(run, frames):
    """The report of a job that was stopped when so many frames were done, and called again."""

    def stop(progress):
        if progress.frames >= frames:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_progress=stop)
    seen = []
    report = run(on_progress=seen.append)
    assert seen[0].resumed_from > 0
    return report


def test_a_film_that_went_through_a_bitstream_has_its_frames_times_and_colours(source, bitstream, tmp_path):
    decompression(bitstream, tmp_path / "out.mp4")
    before, after = list(refilm.open(source)), list(refilm.open(tmp_path / "out.mp4"))
    assert [(frame.time, frame.duration) for frame in before] == [(frame.time, frame.duration) for frame in after]
    assert len({later.time - frame.time for frame, later in pairwise(before)}) > 3, "its rate varies"
    for frame, other in zip(before, after, strict=True):
        luma, *chroma = (abs(a.astype(int) - b).max() for a, b in zip(frame.planes, other.planes, strict=True))
        assert luma == 0
        assert max(chroma) <= 1, "to rounding"
    one, two = refilm.probe(source), refilm.probe(tmp_path / "out.mp4")
    assert (one.tags, one.colour, one.pix_fmt) == (two.tags, two.colour, two.pix_fmt)


def test_the_bitstream_itself_has_the_exact_times_of_its_source(source, bitstream):
    """Though the container's clock counts milliseconds."""
    for frame, other in zip(refilm.open(source), refilm.open(bitstream), strict=True):
        assert (frame.time, frame.duration) == (other.time, other.duration)


@pytest.mark.parametrize("name", ["audio-late-start", "companions"])
def test_sound_keeps_its_place_beside_the_pictures(media, tmp_path, name):
    """Also where it begins before 0, which Matroska cannot hold: there all is moved."""
    film = media(name).path
    compression(film, tmp_path / "film.rfv")
    report = decompression(tmp_path / "film.rfv", tmp_path / "out.mp4")
    assert abs(sound_after_picture(film) - sound_after_picture(tmp_path / "out.mp4")) <= 0.001
    assert abs(report.av_drift) <= 0.001


def sound_after_picture(path):
    """By how many seconds the first packet of sound is later than the first picture."""
    import av

    first = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.stream.type in ("video", "audio"):
                first.setdefault(packet.stream.type, float(packet.pts * packet.time_base))
    return first["audio"] - first["video"]


def test_it_holds_all_that_lies_beside_the_pictures(media, tmp_path):
    film = media("companions-mkv").path
    compression(film, tmp_path / "film.rfv")
    others = [stream for stream in probed_streams(film) if stream[0] != "video"]
    assert others
    assert [stream for stream in probed_streams(tmp_path / "film.rfv") if stream[0] != "video"] == others
    decompression(tmp_path / "film.rfv", tmp_path / "out.mkv")
    assert [stream for stream in probed_streams(tmp_path / "out.mkv") if stream[0] != "video"] == others
    one, two = refilm.probe(film), refilm.probe(tmp_path / "film.rfv")
    assert (one.chapters, len(one.others)) == (two.chapters, len(two.others))


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
@pytest.mark.parametrize("name", ["rotated", "anamorphic", "anamorphic-turned", "odd-420", "vfr"])
def test_rotation_aspect_colour_and_odd_sizes_survive(media, tmp_path, name, codec):
    """FFV1 says nothing of them in its packets."""
    film = media(name).path
    compression(film, tmp_path / "film.rfv")
    wider = {"crf": 0, "pix_fmt": "yuv444p" if "odd" in name else None} if codec == "libx264" else {"crf": None}
    decompression(tmp_path / "film.rfv", tmp_path / "out.mkv", codec=codec, **wider)
    for one, two in ((film, tmp_path / "film.rfv"), (film, tmp_path / "out.mkv")):
        a, b = refilm.probe(one), refilm.probe(two)
        for field in ("width", "height", "rotation", "sample_aspect_ratio"):
            assert getattr(a, field) == getattr(b, field), field
        assert (a.tags.matrix, a.tags.primaries, a.tags.transfer) == (b.tags.matrix, b.tags.primaries, b.tags.transfer)
        assert a.colour == b.colour or a.format != b.format
    times = [[frame.time for frame in refilm.open(path)] for path in (film, tmp_path / "film.rfv")]
    assert times[0] == times[1]


def test_interrupted_and_called_again_the_bitstream_and_what_is_made_of_it_are_the_same(source, bitstream, tmp_path):
    interrupted(lambda **options: compression(source, tmp_path / "film.rfv", **options), 12)
    assert (tmp_path / "film.rfv").read_bytes() == bitstream.read_bytes()
    decompression(bitstream, tmp_path / "whole.mp4")
    interrupted(lambda **options: decompression(bitstream, tmp_path / "parts.mp4", **options), 18)
    assert frame_hashes(tmp_path / "parts.mp4") == frame_hashes(tmp_path / "whole.mp4")


@pytest.mark.parametrize("begin", [0.0, 0.31, 0.7])
def test_any_part_can_be_taken(bitstream, begin, tmp_path):
    whole = list(refilm.open(bitstream))
    start = whole[0].time
    wanted = [frame for frame in whole if begin <= frame.time - start < begin + 0.2]
    decompression(bitstream, tmp_path / "part.mkv", from_time=begin, to_time=begin + 0.2)
    found = list(refilm.open(tmp_path / "part.mkv"))
    assert [[plane.tobytes() for plane in frame.planes] for frame in found] == [
        [plane.tobytes() for plane in frame.planes] for frame in wanted
    ]


def test_it_is_a_source_for_every_other_command(bitstream, tmp_path):
    report = refilm.interpolate(bitstream, tmp_path / "smooth.mkv", times=2, model="flow-blend", codec="ffv1")
    assert report.frames_kept == 30
    assert ("audio", "aac", "eng") in probed_streams(tmp_path / "smooth.mkv")
    assert refilm.analyse(bitstream).frames is not None
    found = refilm.compare(bitstream, bitstream)
    assert found.matched == found.identical == 30


def frames(path):
    """(time, picture) of what can be decoded, and what was lost."""
    with VideoReader(path) as reader:
        return [(frame.time, *(plane.tobytes() for plane in frame.planes)) for frame in reader], reader.losses


def pictures(path):
    """Where the bytes of each picture's packet begin in the file, and where they end."""
    import av

    with av.open(str(path)) as container:
        video = next(stream for stream in container.streams if stream.type == "video")
        content, places = path.read_bytes(), []
        for packet in container.demux(video):
            if packet.size:
                start = content.index(bytes(packet))
                places.append((start, start + packet.size))
    return places


def changed(path, place, to):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    to.write_bytes(content)
    return to


@pytest.mark.parametrize("picture", [0, 3, 8, 13, 23, 29])
@pytest.mark.parametrize("part", ["checksum", "place", "data"])
def test_a_damaged_byte_loses_no_picture_beyond_the_next_key_picture(bitstream, tmp_path, picture, part):
    whole, _ = frames(bitstream)
    places = pictures(bitstream)
    assert len(places) == len(whole) == 30
    start, end = places[picture]
    place = {"checksum": start + 1, "place": start + 5, "data": (start + end) // 2}[part]
    rest, losses = frames(changed(bitstream, place, tmp_path / "damaged.rfv"))
    next_key = min(-(-(picture + 1) // KEYS) * KEYS, 30)
    assert rest == whole[:picture] + whole[next_key:]
    assert losses.damaged_packets == next_key - picture


def test_a_picture_that_is_missing_is_noticed(bitstream, tmp_path):
    """As where the container's own damage swallows a packet: those that follow would refer to another picture."""
    whole, _ = frames(bitstream)
    start, _ = pictures(bitstream)[10]
    content = bytearray(bitstream.read_bytes())
    content[start - 8 : start] = bytes(8)  # Matroska's own head of the packet
    (tmp_path / "damaged.rfv").write_bytes(content)
    rest, _ = frames(tmp_path / "damaged.rfv")
    assert rest[:10] == whole[:10]
    assert set(rest) <= set(whole), "never garbage"


def read_in_this_process(path):
    """As `frames`, without the process that guards against what FFmpeg might do."""
    file = CodedFile(path, on_packet=lambda: None)
    decoder = CodedPictures(file.stream, path)
    found = [(coded.time, decoder.planes(coded)[0], lost) for coded, lost in file.frames(None)]
    return [(time, *(plane.tobytes() for plane in planes)) for time, planes, _ in found], [lost for *_, lost in found]


def mutated(content, random):
    """Some bytes changed, lost, repeated or put in, or the end cut off."""
    content = bytearray(content)
    place, length = int(random.integers(len(content))), int(random.integers(1, 64))
    kind = int(random.integers(5))
    if kind == 0:
        content[place] ^= 1 << int(random.integers(8))
    elif kind == 1:
        content[place : place + length] = random.bytes(min(length, len(content) - place))
    elif kind == 2:
        del content[place : place + length]
    elif kind == 3:
        content[place:place] = content[place : place + length]
    else:
        del content[place:]
    return bytes(content)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_whatever_is_done_to_a_file_no_picture_is_garbage(bitstream, tmp_path, count):
    """Pictures are those of the whole file or missing, and times too; a file of which none is left is refused."""
    whole, _ = read_in_this_process(bitstream)
    random, content, read = np.random.default_rng(count), bitstream.read_bytes(), 0
    for number in range(count):
        path = tmp_path / f"{number}.rfv"
        path.write_bytes(mutated(content, random))
        with suppress(refilm.RefilmError):
            found, losses = read_in_this_process(path)
            assert [frame for frame in found if frame not in whole] == []
            assert found == sorted(found, key=lambda frame: frame[0])
            gone = len(whole) - len(found)
            assert gone == 0 or any(losses) or found == whole[: len(found)], "told, or its declared end is lost too"
            read += 1
        path.unlink()
    assert read > count / 2


def test_what_was_lost_is_told_once_also_by_a_job_that_was_interrupted(bitstream, tmp_path):
    start, end = pictures(bitstream)[10]
    damaged = changed(bitstream, (start + end) // 2, tmp_path / "damaged.rfv")
    told = ["6 damaged packets of the source could not be decoded"]
    whole = decompression(damaged, tmp_path / "whole.mp4")
    assert (whole.warnings, whole.frames_in) == (told, 24)
    parts = interrupted(lambda **options: decompression(damaged, tmp_path / "parts.mp4", **options), 18)
    assert (parts.warnings, parts.frames_in) == (told, 24)
    assert frame_hashes(tmp_path / "parts.mp4") == frame_hashes(tmp_path / "whole.mp4")


def test_an_end_that_is_missing_is_told(bitstream, tmp_path):
    whole, _ = frames(bitstream)
    (tmp_path / "cut.rfv").write_bytes(bitstream.read_bytes()[: pictures(bitstream)[12][0]])
    rest, losses = frames(tmp_path / "cut.rfv")
    assert rest == whole[:12]
    assert losses.missing_seconds > 0.2
    assert "ends" in losses.warnings()[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content.replace(b"V_RFV1", b"V_RFV2"), "no decoder|cannot be read"),
        (lambda content: content[:1000], "cannot be read|damaged|breaks off"),
        (lambda content: content.replace(b'"width"', b'"wodth"'), "what it says of its pictures is damaged"),
        (
            lambda content: content.replace(b'aspect_ratio": "1"', b'aspect_ratio": "2"'),
            "what it says of its pictures is damaged",
        ),
        (lambda content: told(content, b'"width"', b'"wodth"'), "what it says of its pictures is damaged"),
        (lambda content: told(content, b'"version": 2', b'"version": 3'), "in version 3 of the format"),
        (
            lambda content: told(content, b'"squeeze"', b'"squeezr"'),
            "made by squeezr, which this refilm does not have",
        ),
    ],
)
def test_what_is_no_bitstream_or_too_little_of_one_is_refused(bitstream, tmp_path, damage, message):
    source = tmp_path / "other.rfv"
    source.write_bytes(damage(bitstream.read_bytes()))
    with pytest.raises(refilm.RefilmError, match=message):
        list(refilm.open(source))


def told(content, one, other):
    """The content of a file that says of its pictures something else of the same length."""
    text = re.search(rb'\{"version".*?, "crc32": "[0-9a-f]{8}"\}', content)[0]
    head, check, _ = text.replace(one, other).rpartition(b', "crc32": ')
    assert len(one) == len(other)
    assert one in text
    return content.replace(text, head + check + b'"%08x"}' % zlib.crc32(head))


def test_a_bitstream_of_weights_that_are_not_here_is_refused_by_their_name(bitstream, tmp_path):
    source, name = tmp_path / "other.rfv", b'"weights":"squeeze-01234567.safetensors"'
    content = bitstream.read_bytes()
    rest = re.search(rb'"weights": null, ("width": \d+, "height": \d+, "format": )', content)
    shorter = rest[1].replace(b" ", b"")
    source.write_bytes(told(content, rest[0], (name[: len(rest[0]) - len(shorter) - 2] + b'",' + shorter)))
    with pytest.raises(refilm.WeightsError, match=r"squeeze[-0-9]*, which are not here; put that file beside it"):
        list(refilm.open(source))


@pytest.mark.parametrize("number", range(30))
def test_any_picture_is_found_by_decoding_less_than_a_group_before_it(bitstream, number):
    """Also a key picture whose time the container has rounded down or up."""
    times = [frame.time for frame in refilm.open(bitstream)]
    part = Part(times[number] - times[0], None)
    file = CodedFile(bitstream, on_packet=lambda: None, part=part)
    read = [coded.time for coded, _ in file.frames(None)]
    assert read[0] == times[number - number % KEYS]


def test_a_number_of_bits_can_be_asked_for_instead_of_a_quality(source, tmp_path):
    report = refilm.encode(source, tmp_path / "film.rfv", model="squeeze", bpp=0.5)
    assert report.settings["encode"]["bpp"] == 0.5
    assert len(list(refilm.open(tmp_path / "film.rfv"))) == 30


def test_only_bitstreams_are_decoded_and_only_their_ending_is_written(source, tmp_path):
    with pytest.raises(refilm.UsageError, match="was not made by refilm encode"):
        refilm.decode(source, tmp_path / "out.mkv")
    with pytest.raises(refilm.VideoError, match=r"ends in \.rfv"):
        compression(source, tmp_path / "out.mkv")


def test_packets_are_read_as_they_were_written():
    for number, ticks, duration in ((0, 0, 1), (127, 128, 16_383), (2**40, 2**50, 2**20)):
        for picture in (Picture(1, True, None, b""), Picture(2, False, 0x01020304, b"data")):
            found = placed(packet_of(number, ticks, duration, picture.pack()))
            assert found == (number, ticks, duration, picture)


def test_no_bit_of_a_packet_can_change_unnoticed():
    packet = packet_of(5, 1000, 40, Picture(1, False, 7, b"some data").pack())
    for bit in range(8 * len(packet)):
        other = bytearray(packet)
        other[bit // 8] ^= 1 << bit % 8
        assert placed(bytes(other)) is None


def test_a_file_is_known_by_its_content(bitstream, source):
    assert is_coded(bitstream)
    assert not is_coded(source)
    assert not is_coded(bitstream.parent)


def test_a_codec_computes_in_float32_alone(source, tmp_path):
    with pytest.raises(ValueError, match="encode computes in float32; leave out precision"):
        compression(source, tmp_path / "film.rfv", precision="bfloat16")
    assert list(tmp_path.iterdir()) == []
