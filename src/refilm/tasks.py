"""The tasks: one row each, on which commands, models, stages, trainers and protocols key.

Imports no torch, so that the command can name the tasks without waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refilm import options


@dataclass(frozen=True)
class Task:
    """One row.

    name            what models, recipes and results call it
    verb            the command, the Python function and the key of a job's settings
    makes           what its jobs give: pictures, events over time, or the bitstream of a learned codec
    options         the dataclass of its own options
    protocol        name of the evaluation protocol that ranks its models
    summary         the command's help: what it does, and an example
    figure          the mean in a result that ranks them, and whether more of it is better
    worth_waiting   how much better, by that figure, a slower model must be to be the default before a faster one
    """

    name: str
    verb: str
    makes: Literal["pictures", "events", "bitstream"]
    options: type
    protocol: str
    summary: str
    figure: str = "psnr_db"
    more_is_better: bool = True
    worth_waiting: float = 0.5  # dB of PSNR; less is hardly seen


# In the order in which a chain does them.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "denoising",
            "denoise",
            "pictures",
            options.Denoise,
            "denoising-sigma25",
            "Take the noise out of a video.\n\nrefilm denoise night.mp4 clean.mp4",
        ),
        Task(
            "deblocking",
            "deblock",
            "pictures",
            options.Deblock,
            "deblocking-h264-crf37",
            "Take out of a video what strong compression has done to it.\n\nrefilm deblock small.mp4 clean.mp4",
        ),
        Task(
            "super-resolution",
            "upscale",
            "pictures",
            options.Upscale,
            "super-resolution-x4-bi",
            "Make a video larger and sharper.\n\nrefilm upscale small.mp4 large.mp4",
        ),
        Task(
            "interpolation",
            "interpolate",
            "pictures",
            options.Interpolate,
            "interpolation-x2",
            "Make a video smoother: add frames between its own.\n\nrefilm interpolate holiday.mp4 smooth.mp4 --times 4",
        ),
    )
}


def of_verb(verb: str) -> Task:
    """The task that a command or function of this name does."""
    return next(task for task in TASKS.values() if task.verb == verb)
