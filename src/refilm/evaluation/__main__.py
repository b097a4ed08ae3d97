"""`python -m refilm.evaluation MODEL FOLDER`: measure a model, print the table."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App

from refilm.errors import RefilmError
from refilm.evaluation.evaluate import evaluate

app = App(name="python -m refilm.evaluation", help="Measure a model on a folder of videos, beside the plain ways.")


@app.default
def main(
    model: str,
    folder: Path,
    /,
    *,
    protocol: str = "interpolation-x2",
    results: Path = Path("results"),
    weights: str = "default",
    device: str = "cpu",
    pictures: Path | None = None,
) -> int:
    """Measure a model.

    Parameters
    ----------
    model: a model's name, or a baseline: frame-repeat, frame-blend, minterpolate
    folder: videos, each a single scene
    protocol: interpolation-x2 or interpolation-x4
    results: where the figures go, in a folder of the set's name
    weights: "default", or a weight file
    device: cpu or cuda
    pictures: folder for strips of frames (before, truth, result, after); none are written without it
    """
    try:
        evaluate(
            model, folder, protocol, results, weights=weights, device=device, pictures=pictures,
            note=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    except (RefilmError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print((results / folder.resolve().name / "interpolation.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(app())
