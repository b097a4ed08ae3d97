"""Data sets as they come, in tiny."""

import json

import cv2
import numpy as np
import pytest
from data.test_pack import write_clip

from refilm.data import Limits, read_packs, read_split
from refilm.data.layouts import find_footage
from refilm.errors import RefilmError


def pictures(folder, names):
    """Gray pictures, each a little brighter than the one before."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((16, 24, 3), 60 + 10 * number, np.uint8))


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n\n")


@pytest.fixture(params=["triplet", "septuplet"])
def vimeo(request, tmp_path):
    count, short = {"triplet": (3, "tri"), "septuplet": (7, "sep")}[request.param]
    for name in ("00001/0001", "00001/0002", "00002/0001"):
        pictures(tmp_path / "sequences" / name, [f"im{k}.png" for k in range(1, count + 1)])
    write(tmp_path / f"{short}_trainlist.txt", "00001/0001", "00002/0001")
    write(tmp_path / f"{short}_testlist.txt", "00001/0002")
    return tmp_path, count


def test_vimeo_90k_is_read_by_its_lists(vimeo):
    folder, count = vimeo
    assert [footage.source for footage in find_footage(folder)] == ["00001__0001", "00002__0001"]
    (test,) = find_footage(folder, "test")
    assert [path.name for path in test.files] == [f"im{k}.png" for k in range(1, count + 1)]
    read = read_packs(folder)
    assert [clip.frames for clip in read.clips] == [count, count]
    assert read.frames[0].shape == (count, 3, 16, 24)
    assert read.frames[0][:, 0, 0, 0].tolist() == [60 + 10 * k for k in range(count)]
    assert read.clips[0].motion == pytest.approx(10)


@pytest.mark.parametrize("above", ["", "train"])
def test_reds_is_read_by_its_folders(tmp_path, above):
    for name in ("000", "001"):
        pictures(tmp_path / above / "train_sharp" / name, ["00000001.png", "00000000.png"])
    pictures(tmp_path / above.replace("train", "val") / "val_sharp" / "000", ["00000000.png", "00000001.png"])
    found = find_footage(tmp_path)
    assert [footage.source for footage in found] == ["000", "001"]
    assert [path.name for path in found[0].files] == ["00000000.png", "00000001.png"]
    assert "val_sharp" in find_footage(tmp_path, "test")[0].files[0].parts


def test_davis_is_read_by_its_lists(tmp_path):
    for name in ("bear", "bus", "camel"):
        pictures(tmp_path / "JPEGImages" / "480p" / name, ["00000.jpg", "00001.jpg"])
    write(tmp_path / "ImageSets" / "2017" / "train.txt", "bear", "camel")
    write(tmp_path / "ImageSets" / "2017" / "val.txt", "bus")
    assert [footage.source for footage in find_footage(tmp_path)] == ["bear", "camel"]
    assert [footage.source for footage in find_footage(tmp_path, "test")] == ["bus"]


def test_plain_folders_hold_videos_and_pictures(tmp_path):
    (tmp_path / "summer").mkdir()
    write_clip(tmp_path / "summer" / "a.mkv", [(100, 128, 128)] * 3)
    pictures(tmp_path / "frames", ["1.png", "2.png"])
    pictures(tmp_path / "cover", ["cover.png"])
    assert [footage.source for footage in find_footage(tmp_path)] == ["frames", "summer__a.mkv"]
    assert [clip.frames for clip in read_packs(tmp_path).clips] == [2, 3]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(RefilmError, match="no videos, no folders of pictures, and no data set that is known"):
        find_footage(tmp_path)
    with pytest.raises(RefilmError, match="nowhere: no such file or folder"):
        find_footage(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="split must be train or test, got 'validation'"):
        find_footage(tmp_path, "validation")
    write(tmp_path / "tri_trainlist.txt", "00001/0001")
    with pytest.raises(RefilmError, match=r"0001: no pictures here, but tri_trainlist\.txt lists it"):
        find_footage(tmp_path)
    (tmp_path / "tri_trainlist.txt").unlink()
    (tmp_path / "JPEGImages" / "480p").mkdir(parents=True)
    with pytest.raises(RefilmError, match=r"train\.txt: cannot be read .* it lists the clips of the split"):
        find_footage(tmp_path)


def names(pack):
    return [clip.source for clip in pack.clips]


def test_the_splits_of_a_set_are_kept(vimeo):
    folder, _ = vimeo
    assert names(read_split(folder, "train")) == ["00001__0001", "00002__0001"]
    assert names(read_split(folder, "test")) == ["00001__0002"]


def test_a_set_of_which_only_the_training_part_is_there_gives_some_of_it_for_testing(tmp_path):
    for number in range(9):
        pictures(tmp_path / "train_sharp" / f"{number:03d}", ["0.png", "1.png"])
    taught, tested = (names(read_split(tmp_path, split)) for split in ("train", "test"))
    assert tested == ["004"]
    assert taught == [f"{number:03d}" for number in range(9) if number != 4]


def test_folders_of_packs_are_the_parts_of_a_set(tmp_path):
    for part in ("train-0", "train-1", "val"):
        (tmp_path / part).mkdir()
        write_clip(tmp_path / part / "a.mkv", [(100, 128, 128)] * 3)
        entry = {"file": "a.mkv", "source": part, "frames": 3, "width": 48, "height": 32, "motion": 3.0, "bytes": 1}
        (tmp_path / part / "index.json").write_text(json.dumps([entry]))
    assert names(read_split(tmp_path, "train")) == ["train-0", "train-1"]
    assert names(read_split(tmp_path, "test")) == ["val"]


def test_no_film_of_a_pack_is_on_both_sides(tmp_path):
    write_clip(tmp_path / "a.mkv", [(100, 128, 128)] * 3)
    entry = {"file": "a.mkv", "frames": 3, "width": 48, "height": 32, "motion": 3.0, "bytes": 1}
    index = [entry | {"source": film} for film in ("x", "y", "x", "z", "y")]
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert names(read_split(tmp_path, "train")) == ["x", "x", "z"]
    assert names(read_split(tmp_path, "test")) == ["y", "y"]
    (tmp_path / "index.json").write_text(json.dumps([entry | {"source": "x"}] * 3))
    assert [len(read_split(tmp_path, split)) for split in ("train", "test")] == [2, 1]
    (tmp_path / "index.json").write_text(json.dumps([entry | {"source": "x"}]))
    assert [len(read_split(tmp_path, split)) for split in ("train", "test")] == [1, 0]


def test_of_a_set_that_is_too_large_evenly_spread_clips_are_read(tmp_path):
    for number in range(10):
        pictures(tmp_path / f"{number}", ["0.png", "1.png"])
    a_clip = 2 * 16 * 24 * 3
    assert names(read_packs(tmp_path, limits=Limits(max_bytes=5 * a_clip + 1))) == ["1", "3", "5", "7", "9"]
    assert names(read_packs(tmp_path, limits=Limits(max_bytes=1))) == ["5"]
    assert names(read_packs(tmp_path, limits=Limits(max_clips=2))) == ["2", "7"]
    assert len(read_packs(tmp_path, limits=Limits(max_bytes=10 * a_clip))) == 10


def test_films_are_sent_to_be_packed(tmp_path):
    write_clip(tmp_path / "film.mkv", [(100, 128, 128)] * 301)
    with pytest.raises(RefilmError, match=r"film\.mkv: 301 frames, and clips of at most 300 .*refilm data pack "):
        read_split(tmp_path, "train")
