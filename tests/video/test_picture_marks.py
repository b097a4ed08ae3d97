"""EXIF and colour profiles are found in every format, and written so that they are found again."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from media import PROFILE, TURNED

from refilm.video.picture_marks import PictureMarks, read_marks, with_marks


def picture_file(ending):
    return cv2.imencode(ending, np.full((8, 8, 3), 90, np.uint8))[1].tobytes()


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("marks", [PictureMarks(), PictureMarks(TURNED), PictureMarks(TURNED, PROFILE)])
def test_what_is_written_is_read_again_and_the_samples_stay(ending, marks):
    content, lost = with_marks(picture_file(ending), marks)
    assert (read_marks(content), lost) == (marks, [])
    assert marks.turns == bool(marks.exif)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    assert (cv2.imdecode(np.frombuffer(content, np.uint8), flags) == 90).all()


def test_tiff_says_what_it_does_not_hold():
    content, lost = with_marks(picture_file(".tiff"), PictureMarks(TURNED, PROFILE))
    assert content == picture_file(".tiff")
    assert lost == ["how viewers turn it (EXIF)", "its ICC colour profile"]
    assert with_marks(content, PictureMarks())[1] == []


def test_webp_and_tiff_are_read():
    chunks = b"ICCP" + struct.pack("<I", 3) + b"icc\0" + b"EXIF" + struct.pack("<I", len(TURNED)) + TURNED
    assert read_marks(b"RIFF\0\0\0\0WEBP" + chunks) == PictureMarks(TURNED, b"icc")
    for order, magic in (("<", b"II*\0"), (">", b"MM\0*")):
        entries = struct.pack(order + "HHIHH", 274, 3, 1, 8, 0) + struct.pack(order + "HHII", 34675, 7, 9, 40)
        tiff = magic + struct.pack(order + "IH", 8, 2) + entries + b"\0" * 6 + b"a profile"
        found = read_marks(tiff)
        assert found.icc == b"a profile"
        assert found.turns


def test_damaged_files_have_no_marks():
    whole = with_marks(picture_file(".jpg"), PictureMarks(TURNED, PROFILE))[0]
    for content in (
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1\xff",
        whole[:40],
        picture_file(".png")[:20],
        b"II*\0\xff\xff\xff\xff",
    ):
        assert not read_marks(content).icc
