"""How interpolation draws repeating patterns: a fence of equal bars that passes before a textured background.

    python benchmarks/patterns.py    # writes results/bench/patterns.md

Where a pattern moves by more than half of its period, a search for motion cannot tell it from the shorter motion the
other way; the figures say how far the models come.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from refilm.models import create_model

RESULTS = Path(__file__).parents[1] / "results" / "bench" / "patterns.md"
HEIGHT, WIDTH = 240, 480
PERIOD, BAR = 24, 8  # pixels
STEPS = 2, 6, 10, 14, 18, 30  # pixels by which the fence moves from frame to frame
MODELS = "flow-blend", "vi-ls3d-flow", "vi-ls3d-small"
HALF = Fraction(1, 2)
HEAD = f"""# Repeating patterns

Written by `benchmarks/patterns.py`: bars {BAR} pixels wide, one every {PERIOD} pixels, move before a textured
background at rest; the frame halfway is made. **Bars**: the share of the bars of the true frame that are drawn whole,
that is at their place with at least three quarters of their contrast along nine tenths of their height. **PSNR**: of
the part of the picture where the fence is, in dB. A motion above {PERIOD // 2} pixels is more than half of the period.
"""


def scene(time: float, step: float) -> np.ndarray:
    """The picture at a time, [HEIGHT, WIDTH, 3] in [0, 1]; positions are exact to a 16th of a pixel."""
    generator = np.random.default_rng(0)
    grain = generator.random((HEIGHT // 6, WIDTH // 6, 3)).astype(np.float32)
    picture = 0.3 + 0.3 * cv2.resize(grain, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    place = (np.arange(16 * WIDTH) / 16 - step * time) % PERIOD < BAR
    share = place.reshape(WIDTH, 16).mean(1).astype(np.float32)[None, :, None]
    share = np.where((np.arange(HEIGHT) // (HEIGHT // 8) % 8 > 0)[:, None, None], share, 0)
    return picture * (1 - share) + 0.95 * share


def whole_bars(result: np.ndarray, truth: np.ndarray, step: float) -> float:
    """The share of the bars of the true frame that `result` draws whole; gray pictures [HEIGHT, WIDTH]."""
    inside = slice(HEIGHT // 8 + 2, HEIGHT - 2)
    starts = np.arange(PERIOD, WIDTH - 2 * PERIOD, PERIOD) + (step / 2) % PERIOD
    whole = []
    for start in starts:
        bar = slice(round(start) + 2, round(start) + BAR - 2)
        gap = slice(round(start) + BAR + 2, round(start) + PERIOD - 2)
        drawn, wanted = (picture[inside, bar].mean(1) - picture[inside, gap].mean(1) for picture in (result, truth))
        whole.append(float((drawn >= 0.75 * wanted).mean()) >= 0.9)
    return sum(whole) / len(whole)


def main() -> None:
    rows = []
    for step in STEPS:
        frames = [torch.from_numpy(scene(time, step)).float().movedim(-1, 0) for time in (-1, 0, 1, 2)]
        truth, cells = scene(0.5, step), []
        blend = torch.lerp(frames[1], frames[2], 0.5)
        for name in ("blending", *MODELS):
            result = blend if name == "blending" else made(name, frames)
            picture = result.movedim(0, -1).numpy()
            error = np.square(picture - truth)[HEIGHT // 8 :, PERIOD:-PERIOD].mean()
            cells.append(f"{whole_bars(picture.mean(2), truth.mean(2), step):.0%}, {-10 * np.log10(error):.2f} dB")
        rows.append(f"| {step} px, {step / PERIOD:.2f} of the period | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    columns = ["motion", "blending", *MODELS]
    table = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows]
    RESULTS.write_text("\n".join([HEAD, *table]) + "\n")


@torch.inference_mode()
def made(name: str, frames: list[Tensor]) -> Tensor:
    """The frame halfway between the middle two of four, [3, H, W]."""
    model = create_model(name)
    begin = 2 - model.window // 2
    clip = torch.stack(frames[begin : begin + model.window], dim=1)[None]
    return model.between(clip, [HALF])[0, :, 0]


if __name__ == "__main__":
    main()
