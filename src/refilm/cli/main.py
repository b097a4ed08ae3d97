"""The command `refilm`: parse, call, print."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import refilm
from refilm.cli.exit_codes import DONE, FAILED, INTERRUPTED, WRONG_USAGE
from refilm.cli.jobs import add_commands
from refilm.errors import RefilmError, UsageError

app = App(
    name="refilm",
    version=refilm.__version__,
    help="Make video better. Sound, subtitles, timing and colour stay as they are; stopped jobs go on where they were.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

add_commands(app)


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
    from refilm.compare import comparison

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

    options: dict[str, Any] = {"every": every, "weights": weights, "device": device, "pictures": pictures}
    options["note"] = _note
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
    training = _training()
    try:
        checkpoint = training.train(recipe, minutes, set, out, device, devices, progress=sys.stderr.isatty())
        print(f"checkpoint: {checkpoint}")
        if export is not None:
            print(f"weights: {training.export(checkpoint, export, note)}")
    except ValueError as error:  # of the recipe
        raise UsageError(str(error)) from None
    return DONE


@app.command
def ablate(file: Path, /, *, seeds: int = 1, results: Path = Path("results/ablations"), device: str = "auto") -> int:
    """Train the arms of a paper's comparison on the same batches, and write the table.

    Parameters
    ----------
    file
        One of recipes/ablations.
    seeds
        Trainings of each arm.
    results
        Where the figures go.
    device
        auto, cpu or gpu.
    """
    training = _training()
    try:
        print(training.ablate(file, seeds, results, device=device, note=_note).read_text())
    except ValueError as error:  # of the recipe
        raise UsageError(str(error)) from None
    return DONE


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _training() -> Any:
    """refilm.training, which needs packages that running a model does not."""
    try:
        from refilm import training
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is needed to train: pip install 'refilm[train]'") from None
    return training


@app.command
def explain(
    source: Annotated[Path, Parameter(name="IN")],
    output: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    at: str,
    model: str = "vi-ls3d-small",
    weights: str = "default",
) -> int:
    """Show where a model looks to make one pixel of a new frame, as red points over the two frames around it.

    refilm explain holiday.mp4 looks.png --at 2.5,320,180

    Parameters
    ----------
    source
        A video file.
    output
        A PNG picture.
    at
        T,X,Y: a time in seconds, and the pixel, counted from the upper left corner. The new frame lies half-way between
        the two frames around the time.
    model
        A learned model for interpolation.
    weights
        "default", or a weight file.
    """
    try:
        seconds, x, y = at.split(",")
        place = float(seconds), int(x), int(y)
    except ValueError:
        raise UsageError(f"--at wants T,X,Y such as 2.5,320,180 (seconds, pixels), got {at}") from None
    from refilm.evaluation.sampling import explain

    found = explain(source, *place, output, model, weights)
    print(
        f"{output}: {found.points} points act on the pixel, {found.distance:.1f} pixels away in the mean, "
        f"in the frames at {float(found.first):.3f} s and {float(found.second):.3f} s"
    )
    return DONE


data = App(name="data", help="Prepare material for training.", help_format="plaintext")
app.command(data)


@data.command
def pack(
    folder: Path,
    out: Path,
    /,
    *,
    longest: int = 48,
    shortest: int = 12,
    gap: int = 48,
    short_side: int = 360,
    shrink: float = 2.0,
    crf: float = 18,
) -> int:
    """Cut films into short clips worth training on: cut at scene changes, cropped, made smaller, listed.

    Static, dark and badly compressed stretches are left out. Run again, it goes on where it was.

    Parameters
    ----------
    folder
        Videos and folders of pictures, or Vimeo-90K, REDS or DAVIS as they are unpacked.
    out
        The pack's folder, such as films.pack.
    longest
        Frames of a clip at most.
    shortest
        Frames of a clip at least.
    gap
        Frames left out after each clip, so that long takes do not fill the pack.
    short_side
        Of a clip at most, in pixels.
    shrink
        How many times smaller than its film a clip is at least, which cleans away the film's own compression.
    crf
        Quality of the clips; lower is better and larger.
    """
    from refilm.data import packing
    from refilm.stages.scene_cuts import SceneCuts

    try:
        settings = packing.Packing(longest, shortest, gap, short_side, shrink, crf)
    except ValueError as error:
        raise UsageError(str(error)) from None
    clips = packing.pack(folder, out, settings, SceneCuts().mark, _note)
    held = sum(clip.bytes for clip in clips) / 1e6
    print(f"{out}: {len(clips)} clips, {sum(clip.frames for clip in clips)} frames, {held:.1f} MB")
    return DONE


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    if code == INTERRUPTED:
        # at once: threads in the middle of a frame would meet an interpreter that is being taken down
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of `refilm ARGUMENTS`; errors a user can mend are printed in one line, without a traceback."""
    as_json = "--json" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
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
        for impatience in (signal.SIGINT, signal.SIGTERM):
            signal.signal(impatience, signal.SIG_IGN)
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
