import cv2
import pytest
import torch
from torch.nn import functional as F

from refilm.cli.main import run
from refilm.data import read_packs
from refilm.data.camera_paths import Scenes
from refilm.data.panned import divided_photographs, panned, write_panned


def textures(count, size=64):
    coarse = torch.rand(count * 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return list(F.interpolate(coarse, size, mode="bicubic").clamp(0, 1).mul(255).byte().view(count, 3, size, size))


def test_there_is_a_moving_clip_of_each_photograph():
    photographs = textures(3)
    clips = panned(Scenes(photographs, [], speed=4.0), 6, 24, 32, seed=1)
    assert [frames.shape for frames in clips.frames] == [(6, 3, 24, 32)] * 3
    assert [(clip.frames, clip.width, clip.height) for clip in clips.clips] == [(6, 32, 24)] * 3
    again, other = (panned(Scenes(photographs, [], speed=4.0), 6, 24, 32, seed) for seed in (1, 2))
    assert all(torch.equal(*pair) for pair in zip(clips.frames, again.frames, strict=True))
    assert not torch.equal(clips.frames[0], other.frames[0])
    for photograph, frames, clip in zip(photographs, clips.frames, clips.clips, strict=True):
        assert clip.motion > 0
        assert frames.float().mean() == pytest.approx(photograph.float().mean(), abs=40)
        assert (frames[0] != frames[1]).any()


def test_one_photograph_of_twenty_is_set_aside():
    learned, aside = divided_photographs(Scenes(textures(45), [], speed=3.0))
    assert (len(learned.photographs), len(aside.photographs)) == (43, 2)
    assert learned.speed == aside.speed == 3
    assert not any(torch.equal(a, b) for a in learned.photographs for b in aside.photographs)


def test_a_written_set_is_a_pack_of_the_same_frames(tmp_path):
    pack = panned(Scenes(textures(2, 128), [], speed=2.0), 3, 64, 96, seed=0)
    write_panned(tmp_path / "set", pack)
    read = read_packs(str(tmp_path / "set"))
    assert [(clip.frames, clip.height, clip.width) for clip in read.clips] == [(3, 64, 96)] * 2
    for written, frames in zip(pack.frames, read.frames, strict=True):
        assert (written.float() - frames.float()).abs().mean() < 3


def test_the_command_makes_the_set_or_says_what_it_needs(tmp_path, capsys):
    for number, picture in enumerate(textures(20, 80)):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), picture.permute(1, 2, 0).numpy())
    command = ["data", "panned", str(tmp_path / "out"), "--photographs", str(tmp_path), "--height", "64"]
    assert run([*command, "--width", "64", "--frames", "2"]) == 0
    assert "1 clips of 2 frames, 64x64" in capsys.readouterr().out
    assert run([*command, "--width", "63"]) == 2
    assert "must be even and at least 64" in capsys.readouterr().err
    (tmp_path / "07.png").unlink()
    assert run(command) == 2
    assert "19 photographs are too few to set some aside" in capsys.readouterr().err
