import cv2
import numpy as np
import pytest
import torch

from refilm.evaluation.plots import COLOURS, Bars, Line, bars, plot, sheet, write_picture


def test_a_line_is_drawn_in_its_axes():
    picture = plot([Line(np.array([[0.0, 1], [1, 2]]), "a way")], "title", (300, 200), np.random.rand(20, 2))
    assert picture.shape == (200, 300, 3)
    inside = picture[50:150, 50:280].astype(int)
    assert ((inside[..., 2] - inside[..., 0]) > 80).sum() > 50, "a red line"


def test_a_line_that_is_flat_is_drawn_as_well():
    assert plot([Line(np.array([[0.0, 1], [1, 1]]))], "flat").shape == (300, 420, 3)


def test_the_names_of_many_lines_are_all_there():
    lines = [Line(np.array([[0.0, n], [1, n + 1]]), f"the {n}th of ten lines", n) for n in range(10)]
    picture = plot(lines, "title", (300, 200))
    assert picture.shape[0] > 200
    legend = picture[200:].reshape(-1, 3)
    for colour in COLOURS[4:10]:
        assert (legend == np.array(colour)).all(axis=1).any()


def test_a_sheet_has_a_row_of_pictures_for_each_way(tmp_path):
    rows = [torch.rand(4, 1, 8, 8), torch.rand(4, 3, 8, 8)]
    picture = sheet(rows, ["one", "two"], 2)
    assert picture.shape == (32, 150 + 64, 3)
    write_picture(tmp_path / "new" / "a.png", picture)
    assert cv2.imread(str(tmp_path / "new" / "a.png")).shape == picture.shape


def test_bars_are_as_long_as_their_values():
    groups = [Bars("one", [(100.0, None), (50.0, 10.0)]), Bars("other", [(0.0, 0.0), (25.0, None)])]
    picture = bars(groups, ["a", "b"], "title").astype(int)
    red, blue = (((picture - np.array(colour)) == 0).all(axis=2) for colour in COLOURS[:2])
    above = slice(0, picture.shape[0] - 30)  # without the legend
    longest = [max(int(row.sum()) for row in mask[above]) for mask in (red, blue)]
    assert longest[0] == pytest.approx(2 * longest[1], rel=0.03), "the bar of 100 % is twice that of 50 %"
