from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from toys.things import write_sequences

from refilm.cli.main import run
from refilm.data.annotated import KINDS, find_annotated
from refilm.errors import RefilmError


def pictures(folder, count, size=(48, 64)):
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:06}.jpg"), np.full((*size, 3), 90, np.uint8))


def test_sequences_with_masks_know_one_object_each(tmp_path):
    write_sequences(tmp_path)
    person, vehicle = find_annotated(tmp_path)
    assert (person.footage.source, person.labels, person.complete) == ("person-val", ("person",), False)
    assert person.boxes.shape == (4, 1, 4)
    assert person.boxes[1, 0].tolist() == [24, 20, 40, 44]
    assert person.visible.tolist() == [[1.0]] * 4
    assert vehicle.labels == ("vehicle",)
    assert [film.footage.source for film in find_annotated(tmp_path, "train")] == ["person-train", "vehicle-train"]


def test_motchallenge_as_it_comes(tmp_path):
    pictures(tmp_path / "MOT-01" / "img1", 3)
    (tmp_path / "MOT-01" / "seqinfo.ini").write_text("[Sequence]\nname=MOT-01\nimDir=img1\nframeRate=30\nseqLength=3\n")
    (tmp_path / "MOT-01" / "gt").mkdir()
    (tmp_path / "MOT-01" / "gt" / "gt.txt").write_text(
        "1,1,10,5,20,30,1,1,0.8\n3,1,12,5,20,30,1,1,0.1\n2,2,40,5,10,10,1,3,1\n2,3,0,0,8,9,0,8,1\n"
    )
    (film,) = find_annotated(tmp_path)
    assert film.labels == ("person", "vehicle", "person")
    assert film.boxes[0, 0].tolist() == [10, 5, 30, 35]
    assert not film.boxes[1, 0].any()
    np.testing.assert_allclose(film.visible, [[0.8, 0, 0], [0, 1, 0], [0.1, 0, 0]], atol=1e-6)
    assert len(film.footage.files) == 3
    (tmp_path / "MOT-01" / "img1" / "000002.jpg").unlink()
    with pytest.raises(RefilmError, match="2 pictures, and annotations of 3"):
        find_annotated(tmp_path)


XML = """<annotation><folder>x</folder><filename>{number:06}</filename><size><width>64</width><height>48</height></size>
<object><trackid>7</trackid><name>n02084071</name><bndbox><xmax>30</xmax><xmin>11</xmin><ymax>25</ymax><ymin>6</ymin>
</bndbox><occluded>0</occluded><generated>0</generated></object>
<object><trackid>8</trackid><name>n99999999</name><bndbox><xmax>3</xmax><xmin>1</xmin><ymax>5</ymax><ymin>3</ymin>
</bndbox></object></annotation>"""


def test_imagenet_vid_as_it_comes(tmp_path):
    below = "ILSVRC2015_val_00000001"
    pictures(tmp_path / "Data" / "VID" / "val" / below, 2)
    place = tmp_path / "Annotations" / "VID" / "val" / below
    place.mkdir(parents=True)
    for number in range(2):
        (place / f"{number:06}.xml").write_text(XML.format(number=number))
    (film,) = find_annotated(tmp_path)
    assert (film.footage.source, film.labels, film.complete) == (below, ("animal",), True)
    assert film.boxes[:, 0].tolist() == [[11, 6, 31, 26]] * 2
    (place / "000001.xml").write_text("<annotation><object><name>n02084071</name></object></annotation>")
    with pytest.raises(RefilmError, match=r"annotations cannot be read, ValueError: an object has no xmin"):
        find_annotated(tmp_path)


def test_imagenet_vids_thirty_classes_are_known():
    assert sum(name.startswith("n0") for name in KINDS) == 30


def test_coco_as_it_comes(tmp_path):
    pictures(tmp_path / "val2017", 2)
    whole = {
        "images": [{"id": 1, "file_name": "000000.jpg"}, {"id": 2, "file_name": "000001.jpg"}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "truck"}, {"id": 3, "name": "fork"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20], "iscrowd": 1, "segmentation": {}},
            {"image_id": 1, "category_id": 2, "bbox": [20, 20, 10, 10]},
            {"image_id": 1, "category_id": 3, "bbox": [20, 20, 10, 10]},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(whole))
    first, second = find_annotated(tmp_path)
    assert first.labels == ("person", "vehicle")
    assert first.visible.tolist() == [[0.0, 1.0]]
    assert first.boxes[0, 1].tolist() == [20, 20, 30, 30]
    assert second.boxes.shape == (1, 0, 4)
    (tmp_path / "val2017" / "000001.jpg").unlink()
    with pytest.raises(RefilmError, match=r"000001\.jpg is listed in instances\.json, and not here"):
        find_annotated(tmp_path)


def test_what_is_no_set_is_told(tmp_path):
    with pytest.raises(RefilmError, match=r"no films with annotations here: wanted index\.json"):
        find_annotated(tmp_path)
    (tmp_path / "index.json").write_text('{"a": {"split": "val", "boxes": 5, "class": "person"}}')
    with pytest.raises(RefilmError, match="annotations cannot be read"):
        find_annotated(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(RefilmError, match="no films of the split 'val'"):
        find_annotated(tmp_path)


def test_composed_clips_know_all_their_objects(tmp_path, capsys):
    (tmp_path / "cut").mkdir()
    write_sequences(tmp_path / "cut")
    for number in range(5):
        pictures(tmp_path / "films" / str(number), 3, (96, 128))
    command = ["data", "scenes", str(tmp_path / "out"), "--cutouts", str(tmp_path / "cut")]
    sizes = ["--count", "2", "--frames", "5", "--height", "96", "--width", "128"]
    assert run([*command, "--films", str(tmp_path / "films"), *sizes]) == 0
    assert "2 clips of 5 frames, 96x128" in capsys.readouterr().out
    films = find_annotated(tmp_path / "out")
    assert [film.footage.source for film in films] == ["0000", "0001"]
    for film in films:
        assert film.complete
        assert film.boxes.shape[:2] == film.visible.shape == (5, len(film.labels))
        assert len(list(film.footage.frames())) == 5
    assert run([*command, "--films", str(tmp_path / "films"), "--height", "97"]) == 2
    assert "must be even" in capsys.readouterr().err
