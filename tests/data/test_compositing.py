from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from toys.things import write_sequences

from refilm.data.annotations import read_coco
from refilm.data.compositing import Compositor, Film, Films, Thing, _Actor, _Course, _layer, _paste, camera, cut_out
from refilm.data.draws import generator
from refilm.data.objects import empty_files, read_annotated_photographs, read_backgrounds, read_sequences
from refilm.errors import RefilmError

HEIGHT, WIDTH = 96, 160


def texture(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def disc(label, colour, side=40, frames=1):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    cover = ((x**2 + y**2 < (side / 2) ** 2) * 255).astype(np.uint8)
    return Thing(label, [cut_out(np.full((side, side, 3), colour, np.uint8), cover)] * frames)


COMPOSITOR = Compositor(
    [disc("person", (250, 20, 20)), disc("animal", (20, 250, 20))],
    [np.stack([texture(120, 200)] * 8), texture(150, 240, 1)[None]],
)


def actor(thing=None, **fields):
    """One that stands in the middle, without blur, in its own colours."""
    course = {"middle": (80.0, 48.0), "velocity": (0.0, 0.0), "swing": (0.0, 0.0), "pace": 0.3, "phase": 0.0}
    course |= {"lean": 0.0, "turn": 0.0, "size": 1.0, "growth": 0.0}
    course |= {name: fields.pop(name) for name in list(fields) if name in course}
    own = {"mirrored": False, "first": 0, "step": 0.0, "soft": 0.3, "shutter": 0.0, "defocus": 0.0}
    own |= {"focus_pace": 0.3, "focus_phase": 0.0}
    colours = np.eye(3, 4, dtype=np.float32)
    return _Actor(thing or disc("person", (250, 20, 20)), course=_Course(**course), colours=colours, **own | fields)


def test_scenes_depend_on_their_number_alone():
    first, again, other = (COMPOSITOR.draw(generator(0, n), (-2, 0, 2), HEIGHT, WIDTH) for n in (3, 3, 4))
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.frames, other.frames)


@pytest.mark.parametrize("seed", range(8))
def test_a_scene_has_what_it_says(seed):
    scene = COMPOSITOR.draw(generator(1, seed), (-2, 0, 2), HEIGHT, WIDTH)
    count = len(scene.labels)
    assert scene.frames.shape == (3, HEIGHT, WIDTH, 3)
    assert scene.frames.dtype == np.uint8
    assert scene.boxes.shape == (3, count, 4)
    assert scene.visible.shape == (3, count)
    assert 1 <= count <= 4
    assert set(scene.labels) <= {"person", "animal"}
    assert ((scene.visible >= 0) & (scene.visible <= 1.001)).all()
    assert (scene.boxes[..., :2] <= scene.boxes[..., 2:]).all()
    assert (scene.boxes >= 0).all()
    assert (scene.boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()


@pytest.mark.parametrize("time", [0.0, 3.0])
def test_a_box_is_exactly_around_its_thing(time):
    moving = actor(velocity=(4.0, -2.0), growth=0.05, lean=0.4)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    layer = _layer(moving, time)
    _paste(frame, [layer])
    x, y, wide, high = cv2.boundingRect((frame[..., 0] > 125).view(np.uint8))
    np.testing.assert_allclose(layer.box, (x, y, x + wide, y + high), atol=1)
    side = 40 * math.exp(0.05 * time)
    np.testing.assert_allclose((wide, high), (side, side), atol=1.5)
    middle = 80 + 4 * time, 48 - 2 * time
    np.testing.assert_allclose((x + wide / 2, y + high / 2), middle, atol=1)


def test_what_stands_before_a_thing_takes_from_its_visible_share():
    frame = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    seen = _paste(frame, [_layer(actor(), 0.0), _layer(actor(middle=(100.0, 48.0)), 0.0)])
    # two circles of radius r whose middles are r apart have a lens of (2 pi / 3 - sqrt(3) / 2) r^2 in common
    hidden = (2 * math.pi / 3 - math.sqrt(3) / 2) / math.pi
    assert seen[0] == pytest.approx(1 - hidden, abs=0.02)
    assert seen[1] == pytest.approx(1.0, abs=1e-4)


def test_what_lies_outside_is_not_seen():
    frame = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    seen = _paste(frame, [_layer(actor(middle=(0.0, 48.0)), 0.0), _layer(actor(middle=(-60.0, 48.0)), 0.0)])
    assert seen[0] == pytest.approx(0.5, abs=0.02)
    assert seen[1] == 0


def test_motion_blur_is_as_long_as_the_way_while_the_shutter_is_open():
    sharp, blurred = (_layer(actor(velocity=(12.0, 0.0), shutter=shutter), 0.0) for shutter in (0.0, 1.0))
    assert sharp.box == blurred.box
    spread = [float((layer.cover[..., 0] > 0.02).any(axis=0).sum()) for layer in (sharp, blurred)]
    assert spread[1] - spread[0] == pytest.approx(12, abs=2)
    assert blurred.cover.sum() == pytest.approx(sharp.cover.sum(), rel=0.01)


def test_focus_wanders():
    def coverage(time):
        return _layer(actor(defocus=4.0, focus_pace=0.5), time).cover[..., 0]

    def softness(cover):
        return ((cover > 0.1) & (cover < 0.9)).sum() / (cover >= 0.5).sum()

    assert softness(coverage(math.pi)) > 3 * softness(coverage(0.0))


def test_things_play_to_and_fro():
    frames = [cut_out(np.full((8, 8, 3), value, np.uint8), np.full((8, 8), 255, np.uint8)) for value in (10, 20, 30)]
    playing = actor(Thing("person", frames), step=1.0)
    assert [int(playing.cutout(time)[0, 0, 0]) for time in range(-1, 7)] == [10, 10, 20, 30, 30, 20, 10, 10]


def test_a_camera_keeps_the_size_and_the_range():
    frames = [texture(HEIGHT, WIDTH).astype(np.float32)] * 2
    for seed in range(6):
        shot = camera(generator(0, seed), frames, (0, 1))
        assert shot.shape == (2, HEIGHT, WIDTH, 3)
        assert shot.dtype == np.uint8


def film():
    frames = np.stack([texture(120, 200)] * 5)
    boxes = np.zeros((5, 2, 4), np.float32)
    for number in range(5):
        x = 40 + 10 * number
        frames[number, 50:80, x : x + 20] = (255, 0, 255)
        boxes[number, 0] = x, 50, x + 20, 80
    boxes[0, 1] = 150, 10, 170, 30
    return Film(frames, boxes, ("person", "vehicle"), False, hidden=(1,))


@pytest.mark.parametrize("seed", range(10))
def test_parts_of_films_have_the_boxes_of_what_they_show(seed):
    scene = Films([film()]).draw(generator(2, seed), (-1, 0, 1), HEIGHT, WIDTH)
    assert scene.labels == ("person", "vehicle")
    assert not scene.complete
    assert not scene.visible[:, 1].any()
    for frame, box, seen in zip(scene.frames, scene.boxes[:, 0], scene.visible[:, 0], strict=True):
        shown = frame.astype(int)
        pink = (shown[..., 0] - shown[..., 1] > 60) & (shown[..., 2] - shown[..., 1] > 60)
        if seen < 0.9 or pink.mean() < 0.01:
            continue
        own = np.zeros_like(pink)
        own[math.floor(box[1]) : math.ceil(box[3]), math.floor(box[0]) : math.ceil(box[2])] = True
        assert (pink & own).sum() > 0.75 * own.sum()


def test_sequences_give_things_and_films(tmp_path):
    write_sequences(tmp_path)
    things, films = read_sequences(tmp_path, "train")
    assert [thing.label for thing in things] == [film.labels[0] for film in films] == ["person", "vehicle"]
    assert len(things[0].cutouts) == 4
    high, wide = things[0].cutouts[0].shape[:2]
    assert abs(high - 24) <= 1
    assert abs(wide - 16) <= 1
    np.testing.assert_allclose(films[0].boxes[1, 0], (24, 20, 40, 44), atol=1)
    assert not films[0].complete
    with pytest.raises(RefilmError, match="no sequences of the split 'other' are listed"):
        read_sequences(tmp_path, "other")
    with pytest.raises(RefilmError, match=r"index\.json is missing"):
        read_sequences(tmp_path / "nowhere", "train")


def coco(folder):
    cv2.imwrite(str(folder / "a.png"), texture(60, 80))
    cv2.imwrite(str(folder / "b.png"), texture(60, 80, 1))
    whole = {
        "images": [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "person"}, {"id": 7, "name": "animal"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 7, "bbox": [10, 20, 30, 15.5]},
            {
                "id": 2,
                "image_id": 5,
                "category_id": 1,
                "bbox": [50, 10, 10, 20],
                "segmentation": [[50, 10, 60, 10, 60, 30, 50, 30]],
            },
            {"id": 3, "image_id": 5, "category_id": 1, "bbox": [0, 0, 80, 9], "iscrowd": 1, "segmentation": {}},
        ],
    }
    (folder / "objects.json").write_text(json.dumps(whole))
    return folder / "objects.json"


def test_coco_is_read_as_it_comes(tmp_path):
    path = coco(tmp_path)
    first, second = read_coco(path)
    assert (first.file, second.file, second.objects) == ("a.png", "b.png", ())
    assert [(each.label, each.box, each.crowd) for each in first.objects] == [
        ("animal", (10, 20, 40, 35.5), False),
        ("person", (50, 10, 60, 30), False),
        ("person", (0, 0, 80, 9), True),
    ]
    assert [len(each.outline) for each in first.objects] == [0, 1, 0]
    assert empty_files(path) == {"b.png"}
    things, films = read_annotated_photographs(tmp_path, path)
    assert [(thing.label, thing.cutouts[0].shape) for thing in things] == [("person", (21, 11, 4))]
    assert [(len(film.labels), film.complete, film.hidden) for film in films] == [(3, True, (2,))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not in COCO's format"),
        ('{"images": []}', "not in COCO's format, KeyError: 'categories'"),
        ("{", "not valid JSON"),
    ],
)
def test_other_formats_are_refused(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RefilmError, match=message):
        read_coco(tmp_path / "x.json")
    with pytest.raises(RefilmError, match="no such file"):
        read_coco(tmp_path / "y.json")


def test_backgrounds_are_chosen_by_name_and_reduced(tmp_path):
    coco(tmp_path)
    cv2.imwrite(str(tmp_path / "large.png"), texture(640, 960))
    found = read_backgrounds([], [tmp_path], {"b.png", "large.png"})
    assert [each.shape for each in found] == [(1, 60, 80, 3), (1, 320, 480, 3)]
    with pytest.raises(RefilmError, match="no backgrounds here"):
        read_backgrounds([], [tmp_path], {"c.png"})
