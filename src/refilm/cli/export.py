"""The commands that make models available to other programs, and fetch weight files from a hub."""

from __future__ import annotations

import json as json_format
from pathlib import Path

from cyclopts import App

from refilm.errors import DONE


def add_commands(app: App, weights_files: App) -> None:
    app.command(export)
    weights_files.command(fetch)
    weights_files.command(push)
    weights_files.command(card)


def export(model: str, out: Path, /, *, weights: str = "default", overwrite: bool = False, json: bool = False) -> int:
    """Write a model as an ONNX file, for programs without PyTorch.

    Prints what goes in, what comes out, and what is left to the program. Where ONNX Runtime is installed, its results
    are compared with PyTorch's.

    Parameters
    ----------
    model
        A name that `refilm models` lists, or a weight file.
    out
        A file that ends in .onnx.
    weights
        A weight file, by path or shipped name; "default" is the one that ships.
    overwrite
        Replace an existing file.
    json
        Print JSON, for programs.
    """
    from refilm.cli.tables import plain
    from refilm.export.onnx import export_onnx

    made = export_onnx(model, out, weights, overwrite)
    if json:
        print(json_format.dumps(plain(made)))
        return DONE
    print(f"{made.path}: {made.model}, {made.weights or 'no weights'}, {made.path.stat().st_size / 1e6:.1f} MB")
    for words, side in (("in", made.inputs), ("out", made.outputs)):
        for name, shape in side.items():
            print(f"  {words:<4}{name} [{', '.join(map(str, shape))}]")
    for needed in filter(None, made.needs.split("; ")):
        print(f"  {needed}")
    compared = "not compared: onnxruntime is not installed"
    if made.difference is not None:
        compared = f"largest difference between ONNX Runtime and PyTorch: {made.difference:.2g}"
    print(f"  {compared}")
    return DONE


def fetch(name: str, folder: Path = Path(), /, *, file: str | None = None, revision: str | None = None) -> int:
    """Fetch a weight file from the hub.

    Parameters
    ----------
    name
        Such as user/name.
    folder
        Where the file is put.
    file
        Which weight file, where there are several.
    revision
        Branch, tag or commit.
    """
    import shutil

    from refilm.export import hub

    found = hub.fetch(name, file=file, revision=revision)
    path = folder / found.name
    shutil.copyfile(found, path)
    print(f"weights: {path}")
    return DONE


def push(
    weights: str, name: str, /, *, private: bool = False, data: str = "", limits: str = "", licence: str = "apache-2.0"
) -> int:
    """Put a weight file on the hub, with a model card made from its figures; `hf auth login` comes first.

    Parameters
    ----------
    weights
        A weight file, by path or shipped name.
    name
        Such as user/name; made if there is none.
    private
        Let nobody else see it.
    data
        What it was trained on, in words, for the card.
    limits
        What it is not good for, in words, for the card.
    licence
        Of the weights, by its identifier on the hub.
    """
    from refilm.export.hub import push_to_hub

    print(push_to_hub(weights, name, private=private, data=data, limits=limits, licence=licence))
    return DONE


def card(weights: str, /) -> int:
    """Print the model card of a weight file.

    Parameters
    ----------
    weights
        A weight file, by path or shipped name.
    """
    from refilm.export.cards import model_card

    print(model_card(weights), end="")
    return DONE
