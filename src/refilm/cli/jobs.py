"""The commands that turn videos into better ones."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from json import load as read_json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter, validators

from refilm.cli.exit_codes import DONE
from refilm.errors import UsageError
from refilm.models import defaults

# Tasks that some measured model can do as it ships; there are no commands for the others.
_RUNNABLE = defaults.default_models(defaults.results_folder())

_how_many = Group("How many frames", validator=validators.MutuallyExclusive(), sort_key=0)
_encoding = Group("Encoding of the output, in FFmpeg's words", sort_key=2)
_running = Group("Running", sort_key=3)
_many = Group("Many inputs", sort_key=4)


@Parameter(name="*", group=_encoding)
@dataclass(frozen=True)
class EncodingOptions:
    codec: str | None = None
    "Encoder: libx264, libx265, libsvtav1, ffv1, ... Default: libx264, above 8 bit libx265, for .webm libvpx-vp9."
    crf: float | None = None
    "Quality; lower is better and larger. Default: near transparent (libx264 17, libx265 19, the others 24)."
    preset: str | None = None
    "Speed against size: ultrafast ... medium ... veryslow for libx264 and libx265, 0 ... 13 for libsvtav1."
    pix_fmt: str | None = None
    "Pixel format such as yuv420p or yuv420p10le. Default: the source's, if the encoder takes it."


@Parameter(name="*", group=_running)
@dataclass(frozen=True)
class RunOptions:
    device: str = "cpu"
    "Where the models run: cpu, cuda, cuda:1, ..."
    scene_cuts: bool = True
    "Find cuts and keep the models from mixing two scenes; between frames, the nearer one is repeated there."
    tile: int | None = None
    "Side in pixels of the parts in which large pictures go through a model. Default: as --max-memory allows."
    max_memory: str | None = None
    "What the job may take, such as 4GB. Default: three quarters of what is free."
    threads: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    "Processor cores to use. Default: all."
    overwrite: Annotated[bool, Parameter(negative="")] = False
    "Replace an existing output, in one step, once the new one is complete."
    restart: Annotated[bool, Parameter(negative="")] = False
    "Forget an unfinished job on this output, and begin anew."
    force: Annotated[bool, Parameter(negative="")] = False
    "Take an interlaced source as it is, rather than refuse it."
    input_fps: str | None = None
    "Frame rate of a picture sequence. Default: 25."
    json: Annotated[bool, Parameter(negative="")] = False
    "Events and the report as JSON lines on standard output, for programs."


@Parameter(name="*", group=_many)
@dataclass(frozen=True)
class ManyOptions:
    output_dir: Path | None = None
    "Folder for the outputs; every path is then an input: a file, a folder of videos, or a pattern such as 'day*.mp4'."
    suffix: str | None = None
    "Ending of the outputs. Default: the input's, or .mkv where refilm does not write that."
    jobs: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1
    "How many to work on at a time; they share the cores."


Paths = Annotated[Path, Parameter(name="IN OUT")]


def interpolate(
    *paths: Paths,
    times: Annotated[int | None, Parameter(group=_how_many, validator=validators.Number(gte=1))] = None,
    fps: Annotated[str | None, Parameter(group=_how_many)] = None,
    model: str | None = None,
    encoding: EncodingOptions = EncodingOptions(),
    run: RunOptions = RunOptions(),
    many: ManyOptions = ManyOptions(),
) -> int:
    """Make a video smoother: add frames between its own.

    refilm interpolate holiday.mp4 smooth.mp4 --times 4

    Parameters
    ----------
    paths
        A video file, or a picture sequence such as frames/%06d.png; and a file whose ending names the container (.mkv
        holds nearly everything), or a picture sequence. With --output-dir: any number of inputs.
    times
        Frame rate multiplied by this; every frame keeps its pixels and its time. Default: 2.
    fps
        Instead of --times: exactly this frame rate, such as 60 or 60000/1001.
    model
        A name from `refilm models`. Default: the one with the best measured figure.
    """
    return _start("interpolate", paths, {"times": times, "fps": fps, "model": model}, encoding, run, many)


def denoise(
    *paths: Paths,
    sigma: float | None = None,
    model: str | None = None,
    encoding: EncodingOptions = EncodingOptions(),
    run: RunOptions = RunOptions(),
    many: ManyOptions = ManyOptions(),
) -> int:
    """Take the noise out of a video.

    refilm denoise night.mp4 clean.mp4

    Parameters
    ----------
    paths
        As for `refilm interpolate`.
    sigma
        The standard deviation of white noise, of 255. Default: the model judges for itself, also of what noise it is.
    model
        A name from `refilm models`. Default: the one with the best measured figure.
    """
    return _start("denoise", paths, {"sigma": sigma, "model": model}, encoding, run, many)


def deblock(
    *paths: Paths,
    model: str | None = None,
    encoding: EncodingOptions = EncodingOptions(),
    run: RunOptions = RunOptions(),
    many: ManyOptions = ManyOptions(),
) -> int:
    """Take out of a video what strong compression has done to it.

    refilm deblock small.mp4 clean.mp4

    Parameters
    ----------
    paths
        As for `refilm interpolate`.
    model
        A name from `refilm models`. Default: the one with the best measured figure.
    """
    return _start("deblock", paths, {"model": model}, encoding, run, many)


def upscale(
    *paths: Paths,
    scale: int | None = None,
    model: str | None = None,
    encoding: EncodingOptions = EncodingOptions(),
    run: RunOptions = RunOptions(),
    many: ManyOptions = ManyOptions(),
) -> int:
    """Make a video larger and sharper.

    refilm upscale small.mp4 large.mp4

    Parameters
    ----------
    paths
        As for `refilm interpolate`.
    scale
        Times as wide and as high. Default: as the model does.
    model
        A name from `refilm models`. Default: the one with the best measured figure.
    """
    return _start("upscale", paths, {"scale": scale, "model": model}, encoding, run, many)


def enhance(
    *paths: Paths,
    denoise: Annotated[bool, Parameter(negative="", parse="denoising" in _RUNNABLE)] = False,
    sigma: Annotated[float | None, Parameter(parse="denoising" in _RUNNABLE)] = None,
    deblock: Annotated[bool, Parameter(negative="", parse="deblocking" in _RUNNABLE)] = False,
    upscale: Annotated[int | None, Parameter(parse="super-resolution" in _RUNNABLE)] = None,
    times: Annotated[int | None, Parameter(group=_how_many, validator=validators.Number(gte=1))] = None,
    fps: Annotated[str | None, Parameter(group=_how_many)] = None,
    model: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    encoding: EncodingOptions = EncodingOptions(),
    run: RunOptions = RunOptions(),
    many: ManyOptions = ManyOptions(),
) -> int:
    """Several of the other commands in one pass, in the order of these options, decoded and encoded once.

    Parameters
    ----------
    paths
        As for `refilm interpolate`.
    denoise
        Take the noise out.
    sigma
        The standard deviation of white noise, of 255. Default: the model judges for itself, also of what noise it is.
    deblock
        Take out what strong compression has done.
    upscale
        Make it so many times as wide and as high.
    times
        Frame rate multiplied by this.
    fps
        Instead of --times: exactly this frame rate, such as 60 or 60000/1001.
    model
        A name from `refilm models`, in place of the default one for its task; may be given several times.
    """
    wanted = {
        "denoise": denoise,
        "sigma": sigma,
        "deblock": deblock,
        "upscale": upscale,
        "times": times,
        "fps": fps,
        "models": model,
    }
    return _start("enhance", paths, wanted, encoding, run, many)


def one_of_many(*, json: bool = False) -> int:
    """What each child process of a command with many inputs does: the job that standard input describes."""
    job = read_json(sys.stdin)
    return _run_job(job["task"], Path(job["source"]), Path(job["output"]), job["options"], json)


def add_commands(app: App) -> None:
    """Those for which there are models that can run."""
    of_task = {"denoising": denoise, "deblocking": deblock, "super-resolution": upscale, "interpolation": interpolate}
    for task, command in of_task.items():
        if task in _RUNNABLE:
            app.command(command)
    if len(_RUNNABLE) > 1:
        app.command(enhance)
    app.command(one_of_many, show=False)


def _start(
    task: str,
    paths: tuple[Path, ...],
    wanted: dict[str, Any],
    encoding: EncodingOptions,
    run: RunOptions,
    many: ManyOptions,
) -> int:
    """One job, or many, of `refilm.api.<task>`."""
    options = wanted | asdict(encoding) | asdict(run)
    as_json = options.pop("json")
    if many.output_dir is not None:
        from refilm.cli.batch import run_many

        return run_many(task, paths, many.output_dir, many.suffix, many.jobs, options, as_json)
    if len(paths) != 2:
        raise UsageError(
            f"wanted IN OUT, or IN ... --output-dir FOLDER; got {len(paths)} path{'s' * (len(paths) != 1)}"
        )
    if many != ManyOptions():
        raise UsageError("--suffix and --jobs go with --output-dir")
    return _run_job(task, *paths, options, as_json)


def _run_job(task: str, source: Path, output: Path, options: dict[str, Any], as_json: bool) -> int:
    from refilm import api  # torch takes a second to load, which --help need not wait for
    from refilm.cli.console import JobConsole

    console = JobConsole(as_json)
    with console:
        report = getattr(api, task)(source, output, on_progress=console.progress, warn=console.warn, **options)
    console.report(report)
    return DONE
