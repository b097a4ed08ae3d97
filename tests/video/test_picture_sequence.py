from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from refilm.errors import VideoError
from refilm.video import frames, probe
from refilm.video.picture_sequence import PictureSequence


@pytest.fixture
def folder(tmp_path):
    """Pictures 8 to 11 of a sequence in a folder whose name holds a percent sign, and files that are none of them."""
    folder = tmp_path / "50%d [a]"
    folder.mkdir()
    for number in range(8, 12):
        cv2.imwrite(str(folder / f"p [x]{number:03d}.png"), np.full((16, 24), 10 * number, np.uint8))
    for other in ("p [x]12.png", "p [x]0012.png", "p [x]².png", "p x012.png", "p [x]012.png.part", "p [x]abc.png"):
        (folder / other).write_bytes(b"")
    return folder


@pytest.mark.parametrize("name", ["%06d.png", "a%d.png", "a.%3d", "%d_b.tif"])
def test_a_number_pattern_means_a_sequence(tmp_path, name):
    sequence = PictureSequence.of(tmp_path / name)
    assert sequence == PictureSequence(tmp_path / name)
    assert sequence.folder == tmp_path


@pytest.mark.parametrize(
    "name", ["film.mp4", "50%discount.mp4", "100%.mp4", "%d%d.png", "%s.png", "%0²d.png", "%%d.png", "x" * 300]
)
def test_other_names_are_names_of_files(tmp_path, name):
    assert PictureSequence.of(tmp_path / name) is None
    with pytest.raises(VideoError, match="needs one number pattern such as %06d in its name"):
        PictureSequence(tmp_path / name)


def test_a_file_of_that_very_name_is_a_file(tmp_path):
    (tmp_path / "%d.mp4").write_bytes(b"")
    assert PictureSequence.of(tmp_path / "%d.mp4") is None


def test_its_files_are_those_that_the_pattern_names(folder):
    sequence = PictureSequence(folder / "p [x]%03d.png")
    assert [file.name for file in sequence.files()] == [f"p [x]{number:03d}.png" for number in range(8, 12)]
    assert sequence.name(1234) == "p [x]1234.png"
    assert PictureSequence(folder / "p [x]%d.png").files() == [folder / "p [x]12.png"]


def test_files_are_in_the_order_of_numbers_not_of_letters(tmp_path):
    for number in (10, 9, 100):
        (tmp_path / f"{number}.png").write_bytes(b"")
    assert [file.name for file in PictureSequence(tmp_path / "%d.png").files()] == ["9.png", "10.png", "100.png"]
    assert PictureSequence(Path("no such folder/%d.png")).files() == []


def test_it_is_read_from_its_first_number_on_at_the_rate_asked_for(folder):
    (folder / "p [x]12.png").unlink()
    pattern = folder / "p [x]%03d.png"
    assert probe(pattern).frame_rate == 25
    pictures = list(frames(pattern, Fraction(10)))
    assert [int(frame.planes[0][0, 0]) for frame in pictures] == [80, 90, 100, 110]
    assert [frame.time for frame in pictures] == [Fraction(n, 10) for n in range(4)]


def test_a_gap_is_told(folder):
    (folder / "p [x]009.png").unlink()
    with pytest.raises(VideoError, match=r"the sequence has gaps \(3 pictures from p \[x\]008.png to p \[x\]011.png\)"):
        probe(folder / "p [x]%03d.png")


def test_no_picture_is_told(tmp_path):
    with pytest.raises(VideoError, match="no picture of this sequence exists"):
        probe(tmp_path / "%d.png")
