import cv2
import numpy as np
import pytest
import torch

from refilm.data.picture_sets import LEAST, read_pictures, small_size
from refilm.errors import RefilmError, VideoError


def test_sizes_keep_the_proportions_as_far_as_multiples_allow():
    assert small_size(272, 640, 96, 8) == (40, 96)
    assert small_size(8, 8, 8, 1) == (8, 8)
    assert small_size(10, 2000, 96, 8) == (8, 96)


def test_a_film_gives_evenly_spread_pictures(media):
    film = media("cfr-24").path
    pictures = read_pictures(film, 24, 32, 8)
    assert pictures.shape == (24, 3, 24, 32)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    assert not torch.equal(pictures[0], pictures[-1])


def test_a_folder_gives_its_pictures_at_the_size_of_the_first(tmp_path):
    random = np.random.default_rng(0)
    for number in range(LEAST):
        height = 40 if number else 60
        picture = random.integers(0, 255, (height, 80, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number:03d}.png"), picture)
    assert read_pictures(tmp_path, 100, 40, 4).shape == (LEAST, 3, 32, 40)
    (tmp_path / "000.png").unlink()
    with pytest.raises(RefilmError, match=f"holds {LEAST - 1} pictures, and a space is learned from at least {LEAST}"):
        read_pictures(tmp_path, 100, 40, 4)


def test_an_empty_folder_and_one_that_is_not_there_are_told_apart(tmp_path):
    with pytest.raises(RefilmError, match="holds no picture or film"):
        read_pictures(tmp_path, 100, 40, 4)
    with pytest.raises(RefilmError, match="no such file or folder"):
        read_pictures(tmp_path / "nowhere", 100, 40, 4)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(VideoError, match=r"a\.png"):
        read_pictures(tmp_path, 100, 40, 4)
