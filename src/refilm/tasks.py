"""The table of tasks. Commands, models, stages, trainers and evaluation protocols refer to its rows.

This module does not import torch, so that the command can list the tasks without loading it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refilm import options


@dataclass(frozen=True)
class Task:
    """One task.

    name             its name in models, recipes and results
    verb             name of the command and of the Python function, and key in the settings of a job
    makes            what its jobs make: pictures, events over time, or the bitstream of a learned codec
    options          the dataclass of its options
    protocol         name of the evaluation protocol by which its models are ranked
    summary          help of the command: what it does, and an example
    figure           name of the mean in the results by which models are ranked
    more_is_better   whether more of that figure is better
    worth_waiting    difference in that figure by which a slower model must be better than a faster one to be the
                     default
    """

    name: str
    verb: str
    makes: Literal["pictures", "events", "bitstream"]
    options: type
    protocol: str
    summary: str
    figure: str = "psnr_db"
    more_is_better: bool = True
    worth_waiting: float = 0.5  # in dB of PSNR, since a smaller difference is hardly visible


# In the order in which a job of several tasks does them.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "denoising",
            "denoise",
            "pictures",
            options.Denoise,
            "denoising-sigma25",
            "Remove noise from a video.\n\nrefilm denoise night.mp4 clean.mp4",
        ),
        Task(
            "deblocking",
            "deblock",
            "pictures",
            options.Deblock,
            "deblocking-h264-crf37",
            "Remove compression artifacts from a video.\n\nrefilm deblock small.mp4 clean.mp4",
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
    """The task whose command and function have this name."""
    return next(task for task in TASKS.values() if task.verb == verb)
