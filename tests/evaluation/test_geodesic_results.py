import json
from dataclasses import asdict, replace

import cv2
import pytest

from refilm.evaluation import geodesic_results
from refilm.evaluation.geodesic import WAYS
from refilm.models import create_model
from refilm.models.table import PARTS
from refilm.weights import Weights, save_weights


@pytest.fixture
def only_some_ship(tmp_path, monkeypatch):
    """Untrained spaces of the S-curve and of things that turn stand in the place of those that ship."""
    for name, row in list(PARTS.items()):
        if row.task != "morphing":
            continue
        path = None
        if name in ("geodesic-s-curve", "geodesic-objects"):
            model = create_model(name, weights=None)
            path = str(save_weights(Weights(name, asdict(model.config), model.state_dict()), tmp_path))
        monkeypatch.setitem(PARTS, name, replace(row, weights=path))
    monkeypatch.setattr(geodesic_results, "PAIRS", 4)


def test_figures_a_table_and_pictures_are_written(only_some_ship, tmp_path):
    notes = []
    table = geodesic_results.evaluate_geodesic(tmp_path / "results", notes.append)
    content = json.loads((tmp_path / "results" / "geodesic" / "geodesic.json").read_text())
    assert set(content["sets"]) == {"s-curve", "objects"}
    ways = content["sets"]["s-curve"]["ways"]
    assert set(ways) == set(WAYS)
    assert ways["cross-fade"]["variation"] < 1e-3
    assert len(notes) == 2 * len(WAYS)
    text = table.read_text()
    assert "## s-curve" in text
    assert "| cross-fade |" in text
    for name in ("s-curve.png", "s-curve-speed.png", "objects.png", "objects-speed.png"):
        assert cv2.imread(str(table.parent / name)) is not None, name
        assert f"({name})" in text
