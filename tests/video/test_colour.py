"""What untagged files are taken for."""

import pytest

from refilm.video.colour import Colour, guess_colour


@pytest.mark.parametrize(
    ("width", "height", "matrix"),
    [(640, 480, "smpte170m"), (720, 576, "bt470bg"), (1024, 576, "bt470bg"), (1280, 536, "bt709"), (960, 720, "bt709")],
)
def test_untagged_video_is_guessed_by_its_size(width, height, matrix):
    colour = guess_colour(width, height, "yuv")
    assert (colour.matrix, colour.range, colour.chroma_location) == (matrix, "tv", "left")
    assert guess_colour(width, height, "yuv", {"matrix": "unknown", "range": None}) == colour


def test_tags_win_over_guesses():
    tagged = {"matrix": "bt2020nc", "range": "pc", "primaries": "bt2020", "transfer": "smpte2084"}
    assert guess_colour(640, 360, "yuv", tagged) == Colour("bt2020nc", "pc", "bt2020", "smpte2084", "left")
    assert guess_colour(640, 360, "yuv", {"primaries": "bt709"}).matrix == "bt709"
    assert guess_colour(640, 360, "yuv", {"matrix": "gbr"}).matrix == "smpte170m"
    assert guess_colour(640, 360, "rgb", {"matrix": "gbr"}) == Colour("rgb", "pc", "bt709", "iec61966-2-1")
    assert guess_colour(640, 360, "yuv", {"matrix": "ictcp"}).matrix == "ictcp"
    yuvj = guess_colour(640, 360, "yuv", yuvj=True)
    assert (yuvj.range, yuvj.chroma_location) == ("pc", "center")
    assert guess_colour(640, 360, "gray").range == "pc"
    with pytest.raises(ValueError, match=r"fields of Colour, got \['space'\]"):
        guess_colour(640, 360, "yuv", {"space": "bt709"})
