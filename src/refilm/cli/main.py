"""The command `refilm`: parse, call, print."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter, validators
from rich.console import Console

import refilm
from refilm.errors import RefilmError, UsageError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="refilm",
    version=refilm.__version__,
    help="Make video better. Sound, subtitles, timing and colour stay as they are; stopped jobs go on where they were.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

_how_many = Group("How many frames", validator=validators.MutuallyExclusive(), sort_key=0)
_encoding = Group("Encoding of the output, in FFmpeg's words", sort_key=2)
_running = Group("Running", sort_key=3)


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
    "Where the model runs: cpu, cuda, cuda:1, ..."
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


@app.command
def interpolate(
    source: Annotated[Path, Parameter(name="IN")],
    output: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    times: Annotated[int | None, Parameter(group=_how_many, validator=validators.Number(gte=1))] = None,
    fps: Annotated[str | None, Parameter(group=_how_many)] = None,
    model: str | None = None,
    scene_cuts: bool = True,
    tile: int | None = None,
    encoding: EncodingOptions = EncodingOptions(),
    run: RunOptions = RunOptions(),
) -> int:
    """Make a video smoother: add frames between its own.

    refilm interpolate holiday.mp4 smooth.mp4 --times 4

    Parameters
    ----------
    source
        A video file, or a picture sequence such as frames/%06d.png.
    output
        A file whose ending names the container (.mkv holds nearly everything), or a picture sequence.
    times
        Frame rate multiplied by this; every frame keeps its pixels and its time. Default: 2.
    fps
        Instead of --times: exactly this frame rate, such as 60 or 60000/1001.
    model
        A name from `refilm models`. Default: the one with the best measured figure.
    scene_cuts
        Find cuts and repeat the nearer frame there, rather than mixing two scenes.
    tile
        Side in pixels of the parts in which large pictures go through the model; smaller needs less memory.
    """
    from refilm.cli.console import JobConsole
    from refilm.pipeline import tasks  # torch takes a second to load, which --help need not wait for

    console = JobConsole(run.json)
    with console:
        report = tasks.interpolate(
            source,
            output,
            times,
            fps,
            model=model,
            scene_cuts=scene_cuts,
            tile=tile,
            device=run.device,
            overwrite=run.overwrite,
            restart=run.restart,
            force=run.force,
            input_fps=run.input_fps,
            on_progress=console.progress,
            warn=console.warn,
            **asdict(encoding),
        )
    console.report(report)
    return DONE


@app.command
def probe(
    source: Annotated[Path, Parameter(name="IN")], /, *, json: Annotated[bool, Parameter(negative="")] = False
) -> int:
    """Say what a video file holds, and how refilm will read it.

    Parameters
    ----------
    source
        A video file or picture sequence.
    json
        As JSON, for programs.
    """
    from refilm.cli.tables import video_table
    from refilm.video import probe as look

    _show(look(source), video_table, json)
    return DONE


@app.command
def compare(
    a: Path,
    b: Path,
    /,
    *,
    pictures: Path | None = None,
    from_start: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say how much two videos differ, in the frames that they show at the same times.

    Parameters
    ----------
    a
        A video file or picture sequence.
    b
        Another of the same size.
    pictures
        A new folder for a curve over time, frames side by side, and the figures of every frame.
    from_start
        Count times from each video's own first frame.
    json
        As JSON, for programs.
    """
    from refilm.cli.console import JobConsole
    from refilm.cli.tables import comparison_table
    from refilm.pipeline import comparison

    console = JobConsole(as_json=False)
    with console:
        found = comparison.compare(a, b, pictures, from_start=from_start, on_progress=console.progress)
    _show(found, comparison_table, json)
    return DONE


@app.command
def models(pattern: str = "*", /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the models, with the figures measured for them.

    Parameters
    ----------
    pattern
        Names to list, such as "*ls3d*".
    json
        As JSON, for programs.
    """
    from refilm.cli.tables import models_table, models_with_figures

    _show(models_with_figures(pattern), models_table, json)
    return DONE


@app.command
def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show what this installation runs on: versions, devices, encoders, and the kernel behind each operator.

    Parameters
    ----------
    json
        As JSON, for programs.
    """
    from refilm.cli.tables import doctor_table, examine

    _show(examine(), doctor_table, json)
    return DONE


@app.command(name="eval")
def evaluate(
    model: str,
    folder: Path,
    /,
    *,
    protocol: str | None = None,
    every: int | None = None,
    results: Path = Path("results"),
    weights: str = "default",
    device: str = "cpu",
    pictures: Path | None = None,
) -> int:
    """Measure a model on videos, beside the plain ways to do the same, and write the tables.

    Parameters
    ----------
    model
        A name from `refilm models`, or a baseline: frame-repeat, frame-blend, minterpolate, input, hqdn3d, nlmeans,
        deblock, bicubic, lanczos.
    folder
        Videos of one scene each; its name becomes the set's.
    protocol
        What is asked of the model: interpolation-x2, interpolation-x4, denoising-sigma15, denoising-sigma25,
        deblocking-h264-crf37, deblocking-jpeg2000-q40, deblocking-jpeg2000-q20, super-resolution-x4-bi or
        super-resolution-x4-bd. Default: the one by which models of its task are ranked.
    every
        Of so many frames measure two, where all would take too long; not for interpolation.
    results
        Where the figures go: RESULTS/SET/MODEL.json and a table.
    weights
        "default", or a weight file.
    device
        Where the model runs: cpu, cuda, ...
    pictures
        A folder for strips of frames: before, truth, result, after; where pictures are restored: input, baseline,
        result, truth.
    """
    from refilm import evaluation

    def note(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    options: dict[str, Any] = {"every": every, "weights": weights, "device": device, "pictures": pictures, "note": note}
    try:
        result = evaluation.evaluate(model, folder, protocol, results, **options)
    except ValueError as error:  # no such model or protocol
        raise UsageError(str(error)) from None
    print((results / folder.resolve().name / f"{evaluation.task_of(result.protocol)}.md").read_text())
    return DONE


@app.command
def train(
    recipe: Path,
    /,
    *,
    minutes: float | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    out: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    export: Path | None = None,
    note: str = "",
) -> int:
    """Train a model as a recipe says; called again, it goes on from its checkpoint.

    Parameters
    ----------
    recipe
        A TOML file, such as recipes/vdn_ls3d_small.toml.
    minutes
        Stop after this long, with a checkpoint to go on from.
    set
        KEY=VALUE over the recipe's, such as --set batch=4; may be given again.
    out
        Folder of checkpoint, log and pictures. Default: runs/RECIPE.
    device
        auto, cpu or gpu.
    devices
        Processes that share each step (DDP).
    export
        A folder to write the weight file into at the end.
    note
        A line that goes into the weight file, such as the budget.
    """
    try:
        from refilm import training
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is needed to train: pip install 'refilm[train]'") from None
    try:
        checkpoint = training.train(recipe, minutes, set, out, device, devices, progress=sys.stderr.isatty())
        print(f"checkpoint: {checkpoint}")
        if export is not None:
            print(f"weights: {training.export(checkpoint, export, note)}")
    except ValueError as error:  # of the recipe
        raise UsageError(str(error)) from None
    return DONE


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """The exit code of `refilm ARGUMENTS`; errors a user can mend are printed in one line, without a traceback."""
    as_json = "--json" in arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is a Ctrl-C
    # Idle OpenMP threads that spin take the cores from decoder and encoder; this is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return int(app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or DONE)
    except CycloptsError as error:
        return _fail(f"{error}".strip(), WRONG_USAGE, as_json)
    except UsageError as error:
        return _fail(str(error), WRONG_USAGE, as_json)
    except RefilmError as error:
        return _fail(str(error), FAILED, as_json)
    except KeyboardInterrupt:
        return _fail("stopped; run the same command again to go on from here", INTERRUPTED, as_json)
    except BrokenPipeError:
        # whoever read our output has gone; keep the interpreter from complaining about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}", FAILED, as_json)
    except Exception as error:
        traceback.print_exc()
        return _fail(f"this is a fault of refilm's, please report the lines above: {error!r}", FAILED, as_json)


def _fail(message: str, code: int, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"event": "error", "message": message, "exit_code": code}), flush=True)
    else:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"refilm: {message}", markup=False, style="red")
    return code


def _show(content: Any, as_table: Any, as_json: bool) -> None:
    from refilm.cli.tables import plain

    if as_json:
        print(json.dumps(plain(content), indent=1))
    else:
        Console().print(as_table(content))


if __name__ == "__main__":
    main()
