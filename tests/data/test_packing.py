"""Films into packs: what is kept, what is left out, and what an interruption leaves."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from evaluation.clips import pictures, write_clip

from refilm.cli.main import run
from refilm.data import packing, read_index, read_packs
from refilm.data.packing import Packing, blockiness, pack
from refilm.errors import RefilmError
from refilm.stages.scene_cuts import SceneCuts

SMALL = Packing(longest=8, shortest=4, gap=2, short_side=80)


def write_film(path, scenes, size=(160, 176)):
    """Lossless: the pictures [H, W, 3] of each scene in turn."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for picture in (picture for scene in scenes for picture in scene):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def moving(count, red=1.0):
    return [(picture * [red, 1, 1]).astype(np.uint8) for picture in pictures(count, 160, 176, speed=4)]


def frames_of(clips):
    return [clip.frames for clip in clips]


def test_a_pack_is_what_training_reads(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    write_film(films / "a.mkv", [moving(20)])
    clips = pack(films, tmp_path / "out", SMALL)
    # 8, a gap of 2, 8, and too few after the next gap
    assert frames_of(clips) == [8, 8]
    assert read_index(tmp_path / "out") == clips
    read = read_packs(tmp_path / "out")
    # 4 % cut off on each side of 160 x 176 leaves 148 x 162, then at least 2 times smaller, in multiples of 8
    assert read.frames[0].shape == (8, 3, 72, 80)
    assert clips[0].source == "a.mkv"
    assert clips[0].motion > 1
    assert clips[0].bytes == (tmp_path / "out" / "0000.mp4").stat().st_size
    with av.open(str(tmp_path / "out" / "0000.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("hevc", Fraction(25))
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)


def test_clips_hold_the_films_pictures(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    scene = [np.full((160, 176, 3), 60 + 10 * k, np.uint8) for k in range(6)]
    write_film(films / "a.mkv", [scene])
    pack(films, tmp_path / "out", SMALL)
    means = read_packs(tmp_path / "out").frames[0].float().mean((1, 2, 3))
    np.testing.assert_allclose(means, [60 + 10 * k for k in range(6)], atol=1.5)


def test_nothing_worthless_is_packed(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    still = [moving(1)[0]] * 9
    dark = [(picture * 0.1).astype(np.uint8) for picture in moving(9)]
    # each 8x8 block one colour: what a decoder makes of too few bits
    blocky = [picture[::8, ::8].repeat(8, 0).repeat(8, 1) for picture in moving(9)]
    for name, scene in (("still", still), ("dark", dark), ("blocky", blocky), ("good", moving(6))):
        write_film(films / f"{name}.mkv", [scene])
    write_film(films / "small.mkv", [[picture[:96, :128] for picture in moving(6)]], (96, 128))
    (films / "torn.mp4").write_text("not a video")
    said = []
    clips = pack(films, tmp_path / "out", SMALL, note=said.append)
    assert [clip.source for clip in clips] == ["good.mkv"]
    assert "still.mkv: 0 clips" in said
    assert any(line.startswith("small.mkv: left out after 0 clips, 128x96 would become 56x40") for line in said)
    assert any(line.startswith("torn.mp4: left out after 0 clips, ") for line in said)


def test_blocks_are_told_from_texture():
    texture = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    assert blockiness(texture) == pytest.approx(1, abs=0.1)
    assert blockiness(texture[::8, ::8].repeat(8, 0).repeat(8, 1)) > 10


def test_no_clip_spans_a_cut(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    write_film(films / "a.mkv", [moving(5), [255 - picture for picture in moving(6, red=0.3)]])
    clips = pack(films, tmp_path / "out", SMALL, SceneCuts().mark)
    assert frames_of(clips) == [5, 6]


def test_an_interrupted_pack_goes_on(tmp_path, monkeypatch):
    films = tmp_path / "films"
    films.mkdir()
    for name in "ab":
        write_film(films / f"{name}.mkv", [moving(20)])
    whole = pack(films, tmp_path / "whole", SMALL)

    original, written = packing._write, []

    def interrupted(out, number, source, *rest):
        if number == 3:
            raise KeyboardInterrupt
        written.append(source)
        return original(out, number, source, *rest)

    monkeypatch.setattr(packing, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(films, tmp_path / "out", SMALL)
    # whole films only
    assert [clip.source for clip in read_index(tmp_path / "out")] == ["a.mkv", "a.mkv"]
    monkeypatch.setattr(packing, "_write", original)
    said = []
    again = pack(films, tmp_path / "out", SMALL, note=said.append)
    assert said == ["b.mkv: 2 clips"]
    assert [(clip.file, clip.source) for clip in again] == [(clip.file, clip.source) for clip in whole]
    assert not list((tmp_path / "out").glob("*.part"))
    # and once more there is nothing left to do
    assert pack(films, tmp_path / "out", SMALL, note=said.append) == again
    assert len(said) == 1


def test_bad_packing_is_named(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    write_film(films / "a.mkv", [moving(6)])
    with pytest.raises(RefilmError, match="1 films, and not one clip of 12 frames"):
        pack(films, tmp_path / "out", Packing())
    with pytest.raises(RefilmError, match=r"was begun with .*; use the same settings, or another folder"):
        pack(films, tmp_path / "out", SMALL)
    with pytest.raises(RefilmError, match="is there already, and was not begun by this command; name another folder"):
        pack(films, films, SMALL)
    with pytest.raises(ValueError, match="shortest must be from 1 to longest, got 9 of 8 frames"):
        Packing(longest=8, shortest=9)
    with pytest.raises(ValueError, match="shrink must be at least 1"):
        Packing(shrink=0.5)


def test_the_command_packs(tmp_path, capsys):
    films = tmp_path / "films"
    films.mkdir()
    write_clip(films / "a.mkv", 6, height=80, width=96)
    options = ["--shortest", "4", "--shrink", "1"]
    assert run(["data", "pack", str(films), str(tmp_path / "out"), *options]) == 0
    assert "1 clips, 6 frames" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "index.json").read_text())[0]["frames"] == 6
    assert run(["data", "pack", str(films), str(tmp_path / "out"), "--shortest", "0"]) == 2
