"""`refilm eval geodesic`: the spaces that ship, measured beside the alternatives, as JSON, a table and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import refilm
from refilm.data.manifolds import SETS, digits, object_at, slanted
from refilm.evaluation.geodesic import MOMENTS, SURFACES, WAYS, Pairs, Seen, confidence, figures_of, held_out_pairs
from refilm.evaluation.plots import Line, plot, seen_from_the_side, sheet, write_picture
from refilm.models.table import PARTS, create_model

PAIRS = 100
SHOWN = 3  # pairs in pictures
_WORDS = {
    "swiss-roll": "Points of the swiss roll, far apart on it.",
    "s-curve": "Points of the S-curve, far apart on it.",
    "objects": "Drawn things that turn, by 60 degrees or more. Error: mean distance to the uniform turn.",
    "digits": "Any two digits of the test part, 8x8. Confidence: of a classifier in the digit that it finds.",
    "slant": "Image translation: a digit upright and slanted by 30 degrees. Error: mean distance to the uniform slant.",
}
_COLUMNS = {
    "variation": ("variation of the speed", ".3f"),
    "length_ratio": ("length / geodesic", ".3f"),
    "length_error": ("error of the length", ".1%"),
    "off": ("off the surface, of the length", ".1%"),
    "error": ("error, degrees", ".2f"),
    "confidence": ("confidence", ".1%"),
}


def evaluate_geodesic(results_dir: str | Path = "results", note: Callable[[str], None] = lambda line: None) -> Path:
    """Measure every space that ships on its set, and write `results_dir/geodesic/`. -> the path of the table

    note   called with one line for each way

    Raises RefilmError without scikit-learn, which the digits ship with.
    """
    folder = Path(results_dir) / "geodesic"
    content: dict[str, Any] = {"refilm": refilm.__version__, "pairs": PAIRS, "sets": {}}
    for name in SETS:
        row = PARTS[f"geodesic-{name}"]
        if row.weights is None:
            continue
        model: Any = create_model(f"geodesic-{name}").eval()
        pairs = held_out_pairs(name, PAIRS)
        seen = {way: see(model, pairs) for way, see in WAYS.items()}
        figures = {way: _means(figures_of(name, pairs, each)) for way, each in seen.items()}
        for way, values in figures.items():
            note(f"{name}  {way}  " + "  ".join(f"{key} {value:.4f}" for key, value in values.items()))
        entry = {"weights": row.weights, "parameters": sum(p.numel() for p in model.parameters()), "ways": figures}
        if name == "digits":
            entry["confidence_of_real"] = float(confidence(digits("test").samples).mean())
        content["sets"][name] = entry
        _draw(folder, name, pairs, seen)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "geodesic.json").write_text(json.dumps(_rounded(content), indent=1) + "\n")
    table = folder / "geodesic.md"
    table.write_text(_table(content))
    return table


def _means(figures: Mapping[str, list[float]]) -> dict[str, float]:
    """The mean of each figure over pairs; of the length, also that of |ratio - 1|; of the variation, also the most."""
    means = {key: sum(values) / len(values) for key, values in figures.items()}
    means["variation_most"] = max(figures["variation"])
    if "length_ratio" in figures:
        errors = [abs(ratio - 1) for ratio in figures["length_ratio"]]
        means["length_error"] = sum(errors) / len(errors)
    return means


def _table(content: Mapping[str, Any]) -> str:
    lines = [
        "# Ways between two samples",
        "",
        f"Written by `refilm eval geodesic`; means over {content['pairs']} pairs of samples that no training has seen,",
        f"each way seen at {MOMENTS} moments. Variation: standard deviation of |dx/dt| over t by its mean. `straight",
        "codes` is linear interpolation in the space, `respaced` the same way at moments between which it covers equal",
        "lengths, `cross-fade` linear interpolation of the samples. `refilm morph` shows `geodesic, respaced`.",
    ]
    for name, entry in content["sets"].items():
        shown = [key for key in _COLUMNS if any(key in values for values in entry["ways"].values())]
        head = ["way", *(_COLUMNS[key][0] for key in shown)]
        lines += ["", f"## {name}", "", f"{_WORDS[name]} `{entry['weights']}`, {entry['parameters']:,} parameters.", ""]
        lines += [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
        for way, values in entry["ways"].items():
            cells = [format(values[key], _COLUMNS[key][1]) if key in values else "-" for key in shown]
            lines.append(f"| {' | '.join([way, *cells])} |")
        if "confidence_of_real" in entry:
            lines += ["", f"Of real digits of the test part, the confidence is {entry['confidence_of_real']:.1%}."]
        lines += ["", f"![{name}]({name}.png) ![speed]({name}-speed.png)"]
    return "\n".join(lines) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _draw(folder: Path, name: str, pairs: Pairs, seen: Mapping[str, Seen]) -> None:
    """`NAME.png`, the ways on the surface or as pictures, and `NAME-speed.png`, the speed over t by its mean."""
    times = np.linspace(0, 1, MOMENTS)
    compared = ("geodesic", "straight codes")
    lines = []
    for colour, way in enumerate(compared):
        for number, speed in enumerate(seen[way].speed[:SHOWN]):
            relative = (speed / speed.mean()).double().numpy()
            lines.append(Line(np.stack([times, relative], axis=1), way * (number == 0), colour))
    write_picture(folder / f"{name}-speed.png", plot(lines, f"{name}: |dx/dt| by its mean, over t"))
    if name in SURFACES:
        ways = [
            Line(seen_from_the_side(points), way * (number == 0), colour)
            for colour, way in enumerate((*compared, "cross-fade"))
            for number, points in enumerate(seen[way].samples[:SHOWN])
        ]
        dots = seen_from_the_side(SETS[name]("test").samples)
        write_picture(folder / f"{name}.png", plot(ways, name, (520, 420), dots))
        return
    moments = torch.linspace(0, MOMENTS - 1, 9).round().long()
    rows, names = [], []
    for number in range(SHOWN):
        for way in (*compared, "cross-fade"):
            rows.append(seen[way].samples[number, moments])
            names.append(way)
        if (truth := _truth(name, pairs, number)) is not None:
            rows.append(truth)
            names.append("truth")
    write_picture(folder / f"{name}.png", sheet(rows, names, 3 if name == "digits" else 2))


def _truth(name: str, pairs: Pairs, number: int) -> Tensor | None:
    """The uniform way between a pair, at nine moments, [9, *shape]; None where there is none."""
    if name == "digits":
        return None
    first, second = pairs.places[number]
    places = torch.lerp(first, second, torch.linspace(0, 1, 9)[:, None])[:, 0]
    if name == "objects":
        return torch.stack([object_at(int(pairs.kinds[number]), float(angle)) for angle in places])
    assert pairs.upright is not None
    return slanted(pairs.upright[number].expand(9, -1, -1, -1), places)
