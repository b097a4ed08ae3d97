"""Labelled sets as they come, in tiny. Finding opens no clip, so empty files stand for them."""

import json

import pytest

from refilm.data.flips import flips_of
from refilm.data.labelled import find_labelled
from refilm.errors import RefilmError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def sources(clips):
    return [clip.footage.source for clip in clips]


def table(folder, header, *rows):
    write(folder / "index.csv", header, *rows)
    touch(folder, *(row.split(",")[0] for row in rows))
    return find_labelled(folder)


def test_a_table_with_a_split_leaves_out_what_is_in_neither_part(tmp_path):
    found = table(tmp_path, "file,label,split,source", "a/1.mp4,a,train,7", "b/2.mp4,b,test,8", "b/3.mp4,b,unassigned,")
    assert found.labels == ("a", "b")
    assert list(found.folds) == ["1"]
    fold = found.fold()
    assert (sources(fold.train), sources(fold.held_out)) == (["a__1.mp4"], ["b__2.mp4"])
    assert len(found.fold("all").train) == 3
    assert found.fold("all").held_out == ()


def test_serials_are_held_out_by_the_remainder_modulo_5(tmp_path):
    found = table(tmp_path, "file,label,serial", *(f"{n}.mp4,{'ab'[n % 2]},{n}" for n in range(1, 12)))
    assert list(found.folds) == ["0", "1", "2", "3", "4"]
    assert {clip.group for clip in found.fold("1").held_out} == {"1", "6", "11"}
    for fold in found.folds.values():
        assert not {clip.group for clip in fold.train} & {clip.group for clip in fold.held_out}
        assert len(fold.train) + len(fold.held_out) == 11
    with pytest.raises(RefilmError, match="no fold '5'; there are: 0, 1, 2, 3, 4, all"):
        found.fold("5")


def test_a_sequence_is_held_out_from_those_of_its_own_set(tmp_path):
    rows = [f"{part}-{n}.mp4,x,{part},{n}" for part, numbers in (("s1", (1, 2)), ("s2", (11, 12))) for n in numbers]
    found = table(tmp_path, "file,label,set,sequence", *rows)
    assert list(found.folds) == ["1", "2", "11", "12"]
    assert sources(found.fold("11").train) == ["s2-12.mp4"]
    assert sources(found.fold("11").held_out) == ["s2-11.mp4"]


def test_a_table_says_what_is_wrong_with_it(tmp_path):
    write(tmp_path / "index.csv", "file,label", "gone.mp4,a")
    with pytest.raises(RefilmError, match=r"gone.mp4: not there, but index.csv lists it"):
        find_labelled(tmp_path)
    write(tmp_path / "index.csv", "file,class", "gone.mp4,a")
    with pytest.raises(RefilmError, match="the column 'label' is missing"):
        find_labelled(tmp_path)
    write(tmp_path / "index.csv", "file,label")
    with pytest.raises(RefilmError, match="it has no rows"):
        find_labelled(tmp_path)
    touch(tmp_path, "a.mp4")
    write(tmp_path / "index.csv", "file,label,serial", "a.mp4,a,first")
    with pytest.raises(RefilmError, match="serials are whole numbers, got 'first'"):
        find_labelled(tmp_path)


@pytest.mark.parametrize("lists", [".", "ucfTrainTestlist"])
def test_ucf101_has_three_folds(lists, tmp_path):
    names = [f"Dive/v_Dive_g0{n}_c01.avi" for n in (1, 2, 3)] + ["Run/v_Run_g01_c01.avi"]
    touch(tmp_path / "UCF-101", *names)
    write(tmp_path / lists / "classInd.txt", "1 Run", "2 Dive")
    for number in (1, 2, 3):
        held_out = names[number - 1]
        write(tmp_path / lists / f"trainlist0{number}.txt", *(f"{name} 1" for name in names if name != held_out))
        write(tmp_path / lists / f"testlist0{number}.txt", held_out)
    found = find_labelled(tmp_path)
    assert found.labels == ("Run", "Dive")
    assert list(found.folds) == ["1", "2", "3"]
    (clip,) = found.fold("2").held_out
    assert (clip.footage.files[0].name, clip.label, clip.group) == ("v_Dive_g02_c01.avi", "Dive", "Dive g02")
    assert len(found.fold("2").train) == 3
    assert len(found.clips) == 4
    (tmp_path / "UCF-101" / names[0]).unlink()
    with pytest.raises(RefilmError, match=r"no clip v_Dive_g01_c01 here or below, but \w+list01.txt lists it"):
        find_labelled(tmp_path)


def test_hmdb51_has_three_folds(tmp_path):
    for label in ("run", "wave"):
        touch(tmp_path, *(f"{label}/{label}_{n}.avi" for n in range(3)))
        for number, sides in ((1, "120"), (2, "211"), (3, "012")):
            lines = [f"{label}_{n}.avi {side}" for n, side in enumerate(sides)]
            write(tmp_path / "testTrainMulti_7030_splits" / f"{label}_test_split{number}.txt", *lines)
    found = find_labelled(tmp_path)
    assert found.labels == ("run", "wave")
    assert sources(found.fold("1").train) == ["run__run_0.avi", "wave__wave_0.avi"]
    assert sources(found.fold("1").held_out) == ["run__run_1.avi", "wave__wave_1.avi"]
    assert sources(found.fold("3").held_out) == ["run__run_2.avi", "wave__wave_2.avi"]
    assert len(found.clips) == 6


def test_of_kinetics_clips_may_be_missing_which_is_told(tmp_path):
    touch(tmp_path, "train/air/abc_000001_000011.mp4", "val/def_000002_000012.mp4")
    header = "label,youtube_id,time_start,time_end,split"
    write(tmp_path / "train.csv", header, "air drumming,abc,1,11,train", "bowling,xyz,5,15,train")
    write(tmp_path / "validate.csv", header, "bowling,def,2,12,validate")
    found = find_labelled(tmp_path)
    assert found.labels == ("air drumming", "bowling")
    assert sources(found.fold("1").train) == ["train__air__abc_000001_000011.mp4"]
    assert sources(found.fold("1").held_out) == ["val__def_000002_000012.mp4"]
    (note,) = found.notes
    assert "1 of 3 listed clips are not there, such as xyz_000005_000015" in note


def test_something_something_v2_and_its_mirrored_labels(tmp_path):
    touch(tmp_path / "20bn-something-something-v2", "1.webm", "2.webm", "3.webm")
    templates = [
        "Pushing [something] from left to right",
        "Pushing [something] from right to left",
        "Folding [something]",
    ]
    plain = [template.replace("[", "").replace("]", "") for template in templates]
    entries = [{"id": str(n), "label": "x", "template": template} for n, template in enumerate(templates, start=1)]
    write(tmp_path / "labels" / "train.json", json.dumps(entries[:2]))
    write(tmp_path / "labels" / "validation.json", json.dumps(entries[2:]))
    write(tmp_path / "labels" / "labels.json", json.dumps({label: str(2 - n) for n, label in enumerate(plain)}))
    found = find_labelled(tmp_path)
    assert found.labels == tuple(reversed(plain))
    assert [clip.label for clip in found.fold().train] == plain[:2]
    assert sources(found.fold().held_out) == ["20bn-something-something-v2__3.webm"]
    assert found.flips.mirror == {plain[0]: plain[1], plain[1]: plain[0], plain[2]: plain[2]}


def test_something_something_v1_has_folders_of_pictures_at_12_a_second(tmp_path):
    for number in (7, 8):
        touch(tmp_path / "20bn-something-something-v1" / str(number), "00001.jpg", "00002.jpg")
    write(tmp_path / "something-something-v1-train.csv", "7;Holding something")
    write(tmp_path / "something-something-v1-validation.csv", "8;Throwing something")
    write(tmp_path / "something-something-v1-labels.csv", "Throwing something", "Holding something")
    found = find_labelled(tmp_path)
    assert found.labels == ("Throwing something", "Holding something")
    (clip,) = found.fold().train
    assert (clip.label, len(clip.footage.files), clip.footage.rate) == ("Holding something", 2, 12)


def test_diving48_takes_its_classes_from_the_vocabulary(tmp_path):
    touch(tmp_path / "rgb", "a.mp4", "b.mp4")
    write(tmp_path / "Diving48_V2_train.json", json.dumps([{"vid_name": "a", "label": 1}]))
    write(tmp_path / "Diving48_V2_test.json", json.dumps([{"vid_name": "b", "label": 0}]))
    with pytest.raises(RefilmError, match=r"Diving48_vocab.json: missing"):
        find_labelled(tmp_path)
    write(
        tmp_path / "Diving48_vocab.json",
        json.dumps([["Back", "15som", "05Twis", "FREE"], ["Back", "Dive", "NoTwis", "PIKE"]]),
    )
    found = find_labelled(tmp_path)
    assert found.fold().train[0].label == "Back Dive NoTwis PIKE"
    assert found.fold().held_out[0].label == found.labels[0] == "Back 15som 05Twis FREE"


def test_a_folder_for_each_class_holds_out_each_fifth_clip_and_says_so(tmp_path):
    touch(tmp_path, *(f"{label}/{n}.mp4" for label in ("a", "b") for n in range(5)))
    touch(tmp_path / "b" / "5", "0.png", "1.png")
    found = find_labelled(tmp_path)
    assert found.labels == ("a", "b")
    assert sources(found.fold().held_out) == ["a__4.mp4", "b__4.mp4"]
    assert "b__5" in sources(found.fold().train)
    assert "it has no splits" in found.notes[0]


def test_parts_with_a_folder_for_each_class_are_split_as_they_are(tmp_path):
    touch(tmp_path, "train/a/1.mp4", "train/b/1.mp4", "val/a/2.mp4")
    found = find_labelled(tmp_path)
    assert sources(found.fold().train) == ["train__a__1.mp4", "train__b__1.mp4"]
    assert sources(found.fold().held_out) == ["val__a__2.mp4"]


def test_a_folder_without_labelled_clips_is_refused(tmp_path):
    with pytest.raises(RefilmError, match="no labelled clips"):
        find_labelled(tmp_path)
    with pytest.raises(RefilmError, match="no such folder"):
        find_labelled(tmp_path / "gone")


GESTURES = ["caret", "circle", "cross", "down", "left", "none", "right", "square", "star", "tick", "up"]


def test_a_mirrored_swipe_is_a_swipe_to_the_other_side_and_a_mirrored_tick_is_none(tmp_path):
    mirror = flips_of(GESTURES, tmp_path).mirror
    assert (mirror["left"], mirror["right"], mirror["up"], mirror["star"]) == ("right", "left", "up", "star")
    assert "tick" not in mirror


def test_a_gesture_backwards_is_the_one_in_the_other_direction(tmp_path):
    flips = flips_of(GESTURES, tmp_path)
    assert (flips.reversal["up"], flips.reversal["left"], flips.reversal["circle"]) == ("down", "right", "circle")
    assert "tick" not in flips.reversal
    assert flips.upside_down == {}


def test_a_label_with_a_side_that_has_no_counterpart_is_not_mirrored(tmp_path):
    flips = flips_of(["turn LEFT", "turn RIGHT", "Leftwards", "a bright light"], tmp_path)
    assert flips.mirror == {"turn LEFT": "turn RIGHT", "turn RIGHT": "turn LEFT", "a bright light": "a bright light"}


def test_a_file_beside_the_set_says_what_flips_do(tmp_path):
    labels = ["open", "close", "wave"]
    write(tmp_path / "flips.toml", "[reversal]", 'open = "close"', 'close = "open"', 'wave = ""')
    flips = flips_of(labels, tmp_path)
    assert (flips.reversal, flips.mirror) == ({"open": "close", "close": "open"}, {})
    write(tmp_path / "flips.toml", "[reversal]", 'open = "shut"')
    with pytest.raises(RefilmError, match="no clip has the label 'shut'"):
        flips_of(labels, tmp_path)
    write(tmp_path / "flips.toml", "[sideways]")
    with pytest.raises(RefilmError, match="no flip is called 'sideways'; there are: mirror, upside_down, reversal"):
        flips_of(labels, tmp_path)
