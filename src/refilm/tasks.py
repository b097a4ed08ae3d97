"""The table of tasks. Commands, models, stages, trainers and evaluation protocols refer to its rows.

This module does not import torch, so that the command can list the tasks without loading it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from refilm import options


@dataclass(frozen=True)
class Figure:
    """One number that measures a model.

    key              its name in result files
    name, unit       its name in tables, and its unit; "" for none
    digits           decimals that are shown
    more_is_better   whether more of it is better
    """

    key: str
    name: str
    unit: str = ""
    digits: int = 2
    more_is_better: bool = True

    @property
    def title(self) -> str:
        """As the title of a column."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def goodness(self, figures: Mapping[str, float]) -> float:
        """Its value among the figures of a model, with the sign changed if less is better; none is worse than any."""
        value = figures.get(self.key)
        if value is None:
            return -math.inf
        return value if self.more_is_better else -value

    def shown(self, value: float | None) -> str:
        return "-" if value is None else f"{value:.{self.digits}f}"


TOP_1 = Figure("top1", "top-1", "%", 1)
MAP_50 = Figure("map50", "mAP50", "%", 1)
PSNR = Figure("psnr_db", "PSNR", "dB")
BD_RATE = Figure("bd_rate", "BD-rate", "%", 1, more_is_better=False)


@dataclass(frozen=True)
class Task:
    """One task.

    name             its name in models, recipes and results
    verb             name of the command and of the Python function, and key in the settings of a job
    makes            what its jobs make: pictures, events over time, or the bitstream of a learned codec
    options          the dataclass of its options
    protocol         name of the evaluation protocol by which its models are ranked
    summary          help of the command: what it does, and an example
    figure           the figure by which models are ranked
    retimes          whether its jobs may make frames at other times than the source's
    worth_waiting    difference in that figure by which a slower model must be better than a faster one to be the
                     default
    default          the default model of a task whose models are for different things, so that none is the best; "":
                     the default follows from the figures
    of_lossless      the default model for sources that are stored without loss; "": the same as for others
    """

    name: str
    verb: str
    makes: Literal["pictures", "events", "bitstream"]
    options: type
    protocol: str
    summary: str
    figure: Figure = PSNR
    retimes: bool = False
    worth_waiting: float = 0.5  # in dB of PSNR, since a smaller difference is hardly visible
    default: str = ""
    of_lossless: str = ""


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
            "deblurring",
            "deblur",
            "pictures",
            options.Deblur,
            "deblurring-averaged",
            "Make a blurred video sharp, and smoother if wanted.\n\nrefilm deblur shaky.mp4 sharp.mp4 --times 2\n\n"
            "Sharp film stays nearly as it is. Of a film whose shutter is known to be open for half of the time or "
            "longer, --model bin-small-long undoes more.",
            retimes=True,
            default="bin-small",  # the other one is better on blurred film, and spoils sharp film
        ),
        Task(
            "super-resolution",
            "upscale",
            "pictures",
            options.Upscale,
            "super-resolution-x4-real",
            "Make a video larger and sharper.\n\nrefilm upscale small.mp4 large.mp4\n\n"
            "The default is vsr-real-small, which expects a film that was compressed, as most are; for sources that "
            "are stored without loss, such as PNG and FFV1, vsr-ls3d-small, which expects that they never were. For "
            "pictures taken out of a film that was compressed, say --model vsr-real-small.",
            of_lossless="vsr-ls3d-small",
        ),
        Task(
            "interpolation",
            "interpolate",
            "pictures",
            options.Interpolate,
            "interpolation-x2",
            "Make a video smoother: add frames between its own.\n\nrefilm interpolate holiday.mp4 smooth.mp4 --times 4",
            retimes=True,
        ),
        Task(
            "recognition",
            "recognize",
            "events",
            options.Recognize,
            "recognition-center",
            "Say what happens in a film, and when.\n\nrefilm recognize holiday.mp4",
            figure=TOP_1,
            worth_waiting=1.0,  # a video in a hundred
            default="tsn-off-camera",  # it says something of any film
        ),
        Task(
            "detection",
            "detect",
            "events",
            options.Detect,
            "detection-frames",
            "Find persons, vehicles and animals in a film.\n\nrefilm detect holiday.mp4 --draw boxes.mp4",
            figure=MAP_50,
            worth_waiting=1.0,
            default="rfcn-mobilenet",  # sets of annotated films differ too much to rank models by one
        ),
        Task(
            "compression",
            "encode",
            "bitstream",
            options.Encode,
            "compression-rd",
            "Make a video small by a learned codec.\n\nrefilm encode holiday.mp4 holiday.rfv",
            figure=BD_RATE,
            worth_waiting=5.0,  # percent of the bytes
            default="dvc-epa-small",
        ),
    )
}


def of_verb(verb: str) -> Task:
    """The task whose command and function have this name."""
    return next(task for task in TASKS.values() if task.verb == verb)
