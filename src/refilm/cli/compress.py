"""The commands of the learned codec: a film into a small file, and back."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

from cyclopts import App, Group, Parameter

from refilm import options
from refilm.cli.make import MANY, RUNNING, Paths, in_and_out, run_job, run_many_jobs
from refilm.jobs.device import check_device

_ENCODING = Annotated[
    options.Encoding, Parameter(name="*", group=Group("Encoding of the output, in FFmpeg's terms", sort_key=2))
]


def add_commands(app: App) -> None:
    app.command(encode)
    app.command(decode)


def encode(
    *paths: Paths,
    own: Annotated[options.Encode | None, Parameter(name="*")] = None,
    model: str | None = None,
    weights: str = "default",
    running: RUNNING = options.Running(),
    many: MANY = options.Many(),
    json: bool = False,
) -> int:
    """Make a video small by a learned codec.

    refilm encode holiday.mp4 holiday.rfv

    The file has the film's sound, subtitles, chapters and attachments. All commands read it; players do not: for them,
    use refilm decode.

    Parameters
    ----------
    paths
        The input: a video file, a picture sequence such as frames/%06d.png, or - for standard input. The output: a file
        that ends in .rfv. With --output-dir: any number of inputs.
    model
        A name from `refilm models`, or a weight file, which says its model. Default: the codec that ships.
    weights
        "default" for those that ship, or a weight file. Decoding needs the same: beside the film, or in the current
        folder.
    json
        Print events and the report as JSON lines on standard output, for programs.
    """
    check_device(running.device)
    wanted = asdict(own or options.Encode()) | {"model": model, "weights": weights} | asdict(running)
    if many.output_dir is not None:
        from refilm.video.coded import SUFFIX  # imported here, because it loads NumPy

        many = replace(many, suffix=many.suffix or SUFFIX)
        return run_many_jobs("encode", paths, many, wanted, json, (SUFFIX,))
    return run_job("encode", *in_and_out(paths), wanted, json)


def decode(
    *paths: Paths,
    encoding: _ENCODING = options.Encoding(),
    running: RUNNING = options.Running(),
    many: MANY = options.Many(),
    json: bool = False,
) -> int:
    """Turn a file that refilm encode has made into one that any player shows.

    refilm decode holiday.rfv holiday.mp4

    Parameters
    ----------
    paths
        The input: a file that ends in .rfv. The output: a file whose ending names the container, or a picture sequence
        such as frames/%06d.png; - for standard output, which gets uncompressed video (y4m). With --output-dir: any
        number of inputs.
    json
        Print events and the report as JSON lines on standard output, for programs.
    """
    check_device(running.device)
    wanted = asdict(encoding) | asdict(running)
    if many.output_dir is not None:
        return run_many_jobs("decode", paths, many, wanted, json)
    return run_job("decode", *in_and_out(paths), wanted, json)
