"""A picture file becomes a picture file: bits, colours, EXIF and profile are kept, and what is lost is told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from media import PROFILE, TURNED

import refilm
from refilm.errors import UsageError, VideoError
from refilm.video.picture_marks import PictureMarks, read_marks, with_marks

KEEP = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION


def slopes(dtype=np.uint8, height=24, width=40):
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([5 * x + 10, 6 * y + 40, 220 - 4 * x], axis=-1)
    return picture.astype(np.uint8) if dtype == np.uint8 else (picture * 257 + 3).astype(np.uint16)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tiff", ".bmp", ".webp"])
def test_every_format_is_read_and_the_others_are_written(restorers, tmp_path, ending):
    source = tmp_path / f"in{ending}"
    cv2.imwrite(str(source), slopes())
    before = cv2.imread(str(source), KEEP).astype(int)
    for output in ("out.png", "out.tiff", "out.jpg"):
        warnings = []
        report = refilm.denoise(source, tmp_path / output, strength=0, warn=warnings.append)
        assert report.frames_out == 1
        after = cv2.imread(str(tmp_path / output), KEEP).astype(int)
        assert abs(after - before).max() <= (0 if output != "out.jpg" and ending != ".jpg" else 6)
        assert not [text for text in warnings if "profile" in text or "resolution" in text]


def test_16_bits_are_kept(restorers, tmp_path):
    cv2.imwrite(str(tmp_path / "in.png"), slopes(np.uint16))
    refilm.denoise(tmp_path / "in.png", tmp_path / "out.png", strength=0)
    assert (cv2.imread(str(tmp_path / "out.png"), KEEP) == slopes(np.uint16)).all()
    refilm.upscale(tmp_path / "in.png", tmp_path / "large.png")
    large = cv2.imread(str(tmp_path / "large.png"), KEEP)
    assert (large.shape, large.dtype) == ((48, 80, 3), np.uint16)


@pytest.mark.parametrize("endings", [(".jpg", ".png"), (".png", ".jpg"), (".jpg", ".jpg")])
def test_exif_and_profile_are_carried(restorers, tmp_path, endings):
    source, output = (tmp_path / f"{name}{ending}" for name, ending in zip(("in", "out"), endings, strict=True))
    content = cv2.imencode(endings[0], slopes())[1].tobytes()
    source.write_bytes(with_marks(content, PictureMarks(TURNED, PROFILE))[0])
    refilm.upscale(source, output, warn=lambda text: pytest.fail(text) if "profile" in text else None)
    assert read_marks(output.read_bytes()) == PictureMarks(TURNED, PROFILE)
    assert cv2.imread(str(output), KEEP).shape == (48, 80, 3), "EXIF turns it, so the samples are not turned"


def test_what_tiff_cannot_hold_and_transparency_are_told(restorers, tmp_path):
    source, warnings = tmp_path / "in.png", []
    picture = np.dstack([slopes(), np.full((24, 40), 128, np.uint8)])
    source.write_bytes(with_marks(cv2.imencode(".png", picture)[1].tobytes(), PictureMarks(TURNED, PROFILE))[0])
    refilm.upscale(source, tmp_path / "out.tiff", warn=warnings.append)
    for words in ("transparency", "colour profile", "how viewers turn it"):
        assert any(words in text for text in warnings), words


def test_what_makes_no_sense_is_refused_and_nothing_is_left(restorers, media, tmp_path):
    cv2.imwrite(str(tmp_path / "in.png"), slopes())
    with pytest.raises(UsageError, match="is a single picture, and interpolate looks at frames"):
        refilm.interpolate(tmp_path / "in.png", tmp_path / "out.mp4")
    with pytest.raises(VideoError, match=r"is a film; name a file such as out\.mkv, or numbered pictures such as out/"):
        refilm.upscale(media("one-frame").path, tmp_path / "out.png")
    with pytest.raises(VideoError, match="the ending chooses the codec of pictures"):
        refilm.upscale(tmp_path / "in.png", tmp_path / "out.png", codec="libx264")
    assert [file.name for file in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize("output", ["out.png", "frames/%06d.png"])
def test_sound_for_pictures_is_refused(restorers, tmp_path, output):
    cv2.imwrite(str(tmp_path / "in.png"), slopes())
    (tmp_path / "frames").mkdir()
    with pytest.raises(UsageError, match="no place for sound or subtitles; leave out --audio aac"):
        refilm.denoise(tmp_path / "in.png", tmp_path / output, audio="aac")
    assert refilm.denoise(tmp_path / "in.png", tmp_path / output, audio="none").frames_out == 1
