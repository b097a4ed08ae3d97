"""From one picture to another: along a learned space at constant speed, or along the motion between them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refilm.errors import JobError, UsageError, VideoError
from refilm.jobs.job import Job
from refilm.jobs.placing import report_path
from refilm.jobs.report import Report
from refilm.jobs.sink import Sink
from refilm.jobs.video_file import encoded_sink
from refilm.jobs.work_folder import write_atomically
from refilm.options import Encoding, Running
from refilm.stages.table import TaskStages
from refilm.video import VideoReader

if TYPE_CHECKING:
    from torch import Tensor

_MOMENTS = 33  # at which the speed of each curve is found


def read_pictures(paths: Sequence[Path]) -> list[Tensor]:
    """The pictures at `paths`, [3, H, W] each, RGB in [0, 1].

    Raises UsageError for fewer than two, VideoError if one cannot be read, is a film, or has another size.
    """
    if len(paths) < 2:
        raise UsageError(f"morph goes from picture to picture: wanted at least two, got {len(paths)}")
    pictures: list[Tensor] = []
    for path in paths:
        with VideoReader(path) as reader:
            if not reader.info.is_picture:
                raise VideoError(f"{path}: is a film, and morph goes from picture to picture; save a frame of it")
            pictures.append(next(iter(reader)).rgb)
        if pictures[-1].shape != pictures[0].shape:
            (_, height, width), (_, first_height, first_width) = pictures[-1].shape, pictures[0].shape
            raise VideoError(
                f"{path}: is {width}x{height}, and {paths[0]} {first_width}x{first_height}; morph wants pictures of "
                "one size"
            )
    return pictures


def along_space(space: Any, pictures: Sequence[Tensor], frames: int) -> Iterator[Tensor]:
    """`frames` pictures on the way through all `pictures`, from which to which equal lengths of the way are covered.

    What the space makes is enlarged to the size of the pictures. The first and the last are what it makes of the first
    and the last picture.
    """
    import torch
    import torch.nn.functional as F

    from refilm.models.spaces import as_samples, evenly

    size = pictures[0].shape[1:]
    with torch.inference_mode():
        codes = space.encode(as_samples(pictures, space.shape))
        times = torch.linspace(0, 1, _MOMENTS)
        speeds = [space.speed(z0[None], z1[None], times[None])[0] for z0, z1 in pairwise(codes)]
        moments = torch.cat([times + number for number in range(len(speeds))])
        for moment in evenly(torch.cat(speeds), moments, frames):
            first = min(int(moment), len(codes) - 2)
            ends = codes[first : first + 1], codes[first + 1 : first + 2]
            made = space.decode(space.between(*ends, (moment - first).view(1, 1))[0])
            large = F.interpolate(made, size, mode="bicubic", antialias=True).clamp(0, 1)
            yield large[0].expand(3, -1, -1)


def along_motion(model: Any, device: str, pictures: Sequence[Tensor], frames: int) -> Iterator[Tensor]:
    """`frames` pictures at even times by an interpolator, from the first of `pictures` to the last.

    Raises UsageError for a model that makes frames at certain times only, or redraws those it is given.
    """
    from refilm.stages.running import Interpolating, Still

    if model.instants is not None or model.redraws_inputs:
        raise UsageError(f"{model.name} makes frames at certain times only; take another --model, such as flow-blend")
    step = Fraction(len(pictures) - 1, frames - 1)
    wanted = [number * step for number in range(frames)]
    stills = (Still(picture, Fraction(number)) for number, picture in enumerate(pictures))
    for interval in Interpolating[Still](model, device).over(stills):
        begin = interval.first.time
        times = [time - begin for time in wanted if begin <= time < begin + 1]
        made = iter(interval.between(inner) if (inner := [time for time in times if time]) else ())
        for time in times:
            yield interval.first.rgb if time == 0 else next(made)


def check_output(output: Path, paths: Sequence[Path], encoding: Encoding, overwrite: bool) -> Sink:
    """The sink for an output. Raises JobError and VideoError if it cannot be written, or is one of the pictures."""
    sink = encoded_sink(output, encoding)
    for path in paths:
        sink.check(path, overwrite)
    folder = sink.base.parent.resolve()
    if not folder.is_dir():
        raise JobError(f"{folder}: no such folder; create it first")
    return sink


def write_way(
    way: Callable[[], Iterator[Tensor]],
    paths: Sequence[Path],
    output: Path,
    fps: Fraction,
    encoding: Encoding,
    running: Running,
    settings: dict[str, Any],
    weights: tuple[str, ...],
    **callbacks: Any,
) -> Report:
    """Encode the pictures of a way as a job does, so that the output appears under its name when it is complete.

    way         makes the pictures [3, H, W], once the output is known to be writable
    settings    for the report
    callbacks   as for `Job.run`

    Raises JobError and VideoError as a job.
    """
    import cv2

    sink = check_output(output, paths, encoding, running.overwrite)
    on_step: Callable[[str], None] = callbacks.get("on_step") or (lambda step: None)
    with tempfile.TemporaryDirectory(prefix="refilm-") as folder:
        on_step("making pictures")
        for number, picture in enumerate(way()):
            samples = picture.mul(255).round().byte().permute(1, 2, 0).numpy()
            cv2.imwrite(f"{folder}/{number:06d}.png", samples[..., ::-1])
        job = Job(
            source=Path(folder, "%06d.png"),
            sink=sink,
            make_stage=TaskStages((), "cpu"),
            settings={"morph": settings},
            weights=weights,
            # the pictures are made anew each time, so there is nothing to go on with
            running=replace(running, input_fps=fps, scene_cuts=False, restart=True),
        )
        report = replace(job.run(**callbacks), source=", ".join(map(str, paths)))
    write_atomically(report_path(sink.base), report.to_json())
    return report
