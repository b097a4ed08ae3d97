import cv2
import numpy as np

from refilm.evaluation.accuracy import balanced_accuracy, confusion, picture_of, recall, write_confusion


def test_balanced_accuracy_counts_each_class_alike():
    assert balanced_accuracy([100.0, 100.0, 100.0, 0.0], ["a", "a", "a", "b"]) == 50.0


def test_balanced_accuracy_is_the_mean_of_the_recalls():
    hits, labels = [100.0, 0.0, 100.0], ["a", "a", "b"]
    assert recall(hits, labels) == {"a": 50.0, "b": 100.0}
    assert balanced_accuracy(hits, labels) == 75.0


def test_a_confusion_matrix_has_a_row_for_each_class_and_a_column_for_what_was_told():
    counts = confusion(["a", "b", "c"], [("a", "a"), ("a", "b"), ("c", "b"), ("a", "b")])
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0], [0, 1, 0]]


def test_a_confusion_matrix_is_a_table_and_a_picture(tmp_path):
    counts = np.array([[3, 1], [0, 0]])
    write_confusion(tmp_path / "new" / "matrix", ["one", "a longer name"], counts)
    assert (tmp_path / "new" / "matrix.csv").read_text().splitlines()[1:] == ["one,3,1", "a longer name,0,0"]
    picture = cv2.imread(str(tmp_path / "new" / "matrix.png"))
    assert (picture == picture_of(["one", "a longer name"], counts)).all()
    margin = picture.shape[0] - 2 * 44 - 8
    places = (0, 0), (0, 1), (1, 1)
    right, wrong, none = (picture[margin + 4 + 44 * y, margin + 4 + 44 * x].astype(int) for y, x in places)
    assert right[0] > right[2], "blue"
    assert wrong[2] > wrong[0], "orange"
    assert (none == 255).all()
    assert (picture[:margin, margin:] < 128).any(), "names of the columns"
