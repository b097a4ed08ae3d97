"""The results of recognition through restoration: a JSON file and a table for each set, and a plot for each recogniser.

They lie in `results/recognition/`. A table is replaced by one of the same recognisers, damage and views.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import refilm
from refilm.evaluation.plots import Bars, bars, write_picture
from refilm.evaluation.results import device_name


@dataclass(frozen=True)
class Told:
    """What was told of a clip, by title of the column. `run`: the fold or the seed."""

    run: str
    clip: str
    label: str
    told: dict[str, str]


@dataclass(frozen=True)
class Row:
    """A row of a table.

    weights      name of the weight file of what restores; None without weights
    parameters   number of its learned parameters
    psnr_db      PSNR of the pictures that recognisers are shown; None where there is none
    """

    name: str
    weights: str | None
    parameters: int
    psnr_db: float | None
    told: tuple[Told, ...]

    def top1(self, column: str) -> tuple[float, float | None]:
        """(the share of clips that are told right, its standard deviation over runs), %; None for a single run"""
        of_run: dict[str, list[float]] = {}
        for each in self.told:
            of_run.setdefault(each.run, []).append(100.0 * (each.told[column] == each.label))
        shares = [statistics.mean(hits) for hits in of_run.values()]
        every = statistics.mean(hit for hits in of_run.values() for hit in hits)
        return every, statistics.stdev(shares) if len(shares) > 1 else None


@dataclass(frozen=True)
class Table:
    """The table of some recognisers on a set.

    recognisers   (name, weights) of each
    damage        name of the protocol of restoration that damages the clips
    description   what is shown to them, in words
    compared      what PSNR is of, "Y" or "RGB"
    columns       titles of the streams
    lacking       what it does not have, in sentences
    """

    set: str
    recognisers: tuple[tuple[str, str | None], ...]
    damage: str
    description: str
    compared: str
    columns: tuple[str, ...]
    lacking: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        return f"{' + '.join(name for name, _ in self.recognisers)} through {self.damage}"

    @property
    def runs(self) -> list[str]:
        return list(dict.fromkeys(each.run for each in self.rows[0].told))

    @property
    def all_columns(self) -> tuple[str, ...]:
        return (*self.columns, "fused")

    def as_json(self, device: torch.device) -> dict[str, Any]:
        rows = {}
        for row in self.rows:
            top1 = {column: row.top1(column) for column in self.all_columns}
            rows[row.name] = {
                "weights": row.weights,
                "parameters": row.parameters,
                "psnr_db": None if row.psnr_db is None else round(row.psnr_db, 4),
                "top1": {column: round(share, 4) for column, (share, _) in top1.items()},
                "spread": {c: round(spread, 4) for c, (_, spread) in top1.items() if spread is not None},
                "told": {run: {t.clip: t.told for t in row.told if t.run == run} for run in self.runs},
            }
        return {
            "refilm": refilm.__version__,
            "device": device_name(device),
            "description": self.description,
            "recognisers": [list(recogniser) for recogniser in self.recognisers],
            "compared": self.compared,
            "columns": list(self.all_columns),
            "lacking": list(self.lacking),
            "labels": {each.clip: each.label for each in self.rows[0].told},
            "rows": rows,
        }


def write_through(folder: Path, table: Table, device: torch.device) -> Path:
    """Write `folder/<set>.json`, which keeps other tables, `<set>.md` and a plot. -> the path of `<set>.md`"""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{table.set}.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    tables = held.get("tables", {}) | {table.title: table.as_json(device)}
    path.write_text(json.dumps({"set": table.set, "tables": dict(sorted(tables.items()))}, indent=1) + "\n")
    rows = [Bars(row.name, tuple(row.top1(column) for column in table.all_columns)) for row in table.rows]
    title = f"{table.set}: {table.title}, top-1 in %"
    write_picture(folder / _plot_of(table.set, table.title), bars(rows, table.all_columns, title))
    text = folder / f"{table.set}.md"
    text.write_text("\n".join(_lines(table.set, dict(sorted(tables.items())))) + "\n")
    return text


def _plot_of(name: str, title: str) -> str:
    return f"{name}-{title.replace(' + ', '+').replace(' ', '-')}.png"


def _lines(name: str, tables: dict[str, Any]) -> list[str]:
    lines = [
        f"# Recognition through restoration on `{name}`",
        "",
        "Written by `refilm eval MODEL SET --through ...` from the JSON file beside it. Top-1 in %, of each stream of",
        "the recognisers and of all together (fused); after +-, the standard deviation over folds or seeds. Of a pair",
        "A + B, the pictures of A go to what looks at single frames (rgb), and those of B to what looks at motion:",
        "optical flow by DIS, differences of RGB, or OFF. PSNR is that of the frames that are shown, at full size.",
    ]
    for title, table in tables.items():
        runs = len(next(iter(table["rows"].values()))["told"])
        with_what = ", ".join(f"{model} ({weights})" for model, weights in table["recognisers"])
        count = f"{len(table['labels'])} clips{f', {runs} folds or seeds' if runs > 1 else ''}"
        columns = table["columns"]
        lines += ["", f"## {title}", "", f"{with_what}; {count}; {table['description']}; on {table['device']}.", ""]
        head = ["clips", *columns, f"PSNR of {table['compared']}, dB", "parameters", "weights"]
        lines += ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
        lines += [f"| {' | '.join(_cells(row, entry, columns))} |" for row, entry in table["rows"].items()]
        lines += [line for sentence in table["lacking"] for line in ("", sentence)]
        lines += ["", f"![top-1]({_plot_of(name, title)})"]
    return lines


def _cells(name: str, row: dict[str, Any], columns: Sequence[str]) -> list[str]:
    shares = []
    for column in columns:
        spread = row["spread"].get(column)
        shares.append(f"{row['top1'][column]:.1f}" + ("" if spread is None else f" +- {spread:.1f}"))
    psnr = "-" if row["psnr_db"] is None else f"{row['psnr_db']:.2f}"
    return [name, *shares, psnr, f"{row['parameters']:,}", row["weights"] or "-"]
