import cv2
import numpy as np
import torch

from refilm.evaluation.plots import Line, plot, sheet, write_picture


def test_a_line_is_drawn_in_its_axes():
    picture = plot([Line(np.array([[0.0, 1], [1, 2]]), "a way")], "title", (300, 200), np.random.rand(20, 2))
    assert picture.shape == (200, 300, 3)
    inside = picture[50:150, 50:280].astype(int)
    assert ((inside[..., 2] - inside[..., 0]) > 80).sum() > 50, "a red line"


def test_a_line_that_is_flat_is_drawn_as_well():
    assert plot([Line(np.array([[0.0, 1], [1, 1]]))], "flat").shape == (300, 420, 3)


def test_a_sheet_has_a_row_of_pictures_for_each_way(tmp_path):
    rows = [torch.rand(4, 1, 8, 8), torch.rand(4, 3, 8, 8)]
    picture = sheet(rows, ["one", "two"], 2)
    assert picture.shape == (32, 150 + 64, 3)
    write_picture(tmp_path / "new" / "a.png", picture)
    assert cv2.imread(str(tmp_path / "new" / "a.png")).shape == picture.shape
