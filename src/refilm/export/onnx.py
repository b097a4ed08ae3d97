"""Models as ONNX files, which ONNX Runtime and other programs run without PyTorch.

A file holds the network of a model. What surrounds it in a job, and is no network, stays with the program that runs it:
alignment along DIS flow before it, the temporal filter after it, the suppression of boxes on one object. `needs` in the
file's metadata names it. Sizes are free, except for recognisers.

LS3D-Conv becomes one DeformConv for each output frame: the frames under a kernel are stacked along the channels, and
each is one group of offsets.

The metadata entry "refilm" is JSON: model, weights, task, window, scale, size_multiple, needs, and labels.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

import refilm
from refilm.errors import RefilmError, UsageError
from refilm.models.table import MODELS, create_model, named, weights_name
from refilm.ops.kernels import OPERATORS
from refilm.tasks import TASKS

OPSET = 22  # DeformConv and GridSample as they are now
_BEST = 10  # boxes that are compared
_HALF = (Fraction(1, 2),)
_LARGEST = 8192  # side of a picture
_MOST = 0.01  # difference of results in colours from 0 to 1, in logits, and in pixels of boxes


@dataclass(frozen=True)
class Exported:
    """What an ONNX file holds.

    inputs, outputs   by name, with their shapes; free sizes are names such as "height" or "2*height"
    needs             what a program has to do itself, before and after; empty if nothing is left
    difference        the largest difference between ONNX Runtime's results and PyTorch's; None: not compared
    """

    path: Path
    model: str
    weights: str | None
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    needs: str
    difference: float | None = None


@dataclass(frozen=True)
class Form:
    """The part of a model that becomes a graph.

    run      inputs -> a tensor, or a tuple of several
    inputs   an example of each; the first is a clip [N, 3, T, H, W], of which N is free
    sized    whether height and width stay as in the example
    ranked   whether the results are boxes and scores, in an order on which two runs need not agree
    """

    run: Callable[..., Any]
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    needs: str = ""
    sized: bool = False
    ranked: bool = False
    labels: Sequence[str] = ()


class _Graph(nn.Module):
    def __init__(self, model: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self._run = model, run

    def forward(self, *inputs: Tensor) -> Any:
        return self._run(*inputs)


def export_onnx(
    model: str, path: str | Path, weights: str | Path | None = "default", overwrite: bool = False
) -> Exported:
    """Write a model as an ONNX file, and compare what ONNX Runtime makes of it, where that is installed.

    model, weights   as for `refilm.create_model`
    path             a file that ends in .onnx

    Raises UsageError for an unknown model, one that ONNX cannot express, and a path that exists or is none; RefilmError
    if the package onnxscript is missing, or if ONNX Runtime's results differ; WeightsError as `create_model`.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: wanted a file name that ends in .onnx")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; give another name, or --overwrite")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")
    if find_spec("onnxscript") is None:
        raise RefilmError('ONNX files are written by the package onnxscript: pip install "refilm[onnx]"')
    try:
        made = create_model(model, weights).eval()
    except ValueError as error:
        raise UsageError(str(error)) from None
    name, file = str(made.name), weights_name(str(made.name), named(model, weights)[1])
    form = form_of(made, name)
    with _quietly():
        program = _program(made, form)
    _name_sizes(program.model.graph)
    program.model.metadata_props["refilm"] = json.dumps(_described(made, name, file, form))
    partial, difference = path.with_suffix(".part"), None
    try:
        program.save(partial, external_data=False)
        if find_spec("onnxruntime") is not None:
            difference = _difference(partial, form)
            if difference > _MOST:
                raise RefilmError(f"{path}: not written, since ONNX Runtime's results differ by {difference:g}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    graph = program.model.graph
    inputs, outputs = ({each.name: _shape(each) for each in side} for side in (graph.inputs, graph.outputs))
    return Exported(path, name, file, inputs, outputs, form.needs, difference)


def _described(model: Any, name: str, weights: str | None, form: Form) -> dict[str, Any]:
    return {
        "refilm": refilm.__version__,
        "model": name,
        "weights": weights,
        "task": model.task,
        "window": model.window,
        "scale": model.scale,
        "size_multiple": model.size_multiple,
        "needs": form.needs,
        "labels": list(form.labels),
    }


def form_of(model: Any, name: str) -> Form:
    """What becomes of a model of this name in the table. Raises UsageError for one that ONNX cannot express."""
    task = MODELS[name].task
    if task == "compression":
        raise UsageError(
            f"{name}: a codec's decoder has to compute the same bits everywhere, which ONNX does not promise; "
            "use refilm.encode and refilm.decode"
        )
    makers = {"recognition": _recognising, "detection": _detecting}
    maker = _interpolating if TASKS[task].retimes else makers.get(task, _restoring)
    with torch.inference_mode():
        form = maker(model)
    if form is None:
        raise UsageError(
            f"{name}: estimates motion by DIS, which is a program of OpenCV and has no form in ONNX; "
            "use refilm.stream from Python, or the command with - - in a pipe"
        )
    return form


def _noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _restoring(model: Any) -> Form:
    window = model.window
    clip = _noise(2, 3, window, 48, 64)
    needs = []
    if window > 1 and not torch.equal(model.prepare(clip), clip):
        needs.append("before: the other frames aligned to the middle one, as the model's prepare does")
    if model.temporal_filter is not None:
        needs.append("after: the model's temporal_filter on three consecutive results")
    inputs = {"clip": clip}
    if model.task == "denoising":
        inputs["sigma_8bit"] = torch.tensor([15.0, float("nan")])
    return Form(model.network, inputs, ("frame",), "; ".join(needs))


def _interpolating(model: Any) -> Form | None:
    clip = _noise(2, 3, model.window, 48, 64)
    if model.unlearned(clip) or model.recurrent:
        return None
    return Form(lambda pair: model.between(pair, _HALF)[:, :, 0], {"clip": clip}, ("frame",))


def _recognising(model: Any) -> Form | None:
    sampling = model.sampling
    clip = _noise(1, 3, model.window, sampling.height, sampling.width)
    if model.unlearned(clip) is not None:
        return None
    return Form(model, {"clip": clip}, ("logits",), sized=True, labels=model.labels)


def _detecting(model: Any) -> Form:
    clip = _noise(1, 3, model.window, model.side, model.side * 16 // 9)
    needs = "after: of boxes that overlap by more than half, those but the best left out, for each class"
    return Form(model.candidates, {"clip": clip}, ("boxes", "scores"), needs, True, True, model.labels)


def _program(model: Any, form: Form) -> Any:
    free: dict[int, Any] = {}
    if not form.sized:
        multiple = model.size_multiple
        for axis, name in ((3, "height"), (4, "width")):
            side = Dim(name, min=2, max=_LARGEST // multiple)
            free[axis] = multiple * side if multiple > 1 else side
    if len(next(iter(form.inputs.values()))) > 1:
        free[0] = Dim("batch", min=1, max=1024)
    shapes = tuple(free if each.ndim == 5 else {0: free[0]} for each in form.inputs.values())
    with torch.no_grad():
        traced = torch.export.export(
            _Graph(model, form.run), tuple(form.inputs.values()), dynamic_shapes=(shapes,), strict=False
        )
    return torch.onnx.export(
        traced.run_decompositions(_references()),
        custom_translation_table={torch.ops.refilm.ls3d_conv.default: _deform_conv},
        input_names=list(form.inputs),
        output_names=list(form.outputs),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not used here, and on its own code."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _references() -> dict[Any, Callable[..., Any]]:
    """PyTorch's own decompositions, and for operators of refilm their definition in plain torch."""
    own = {getattr(torch.ops.refilm, operator.name).default: operator.reference for operator in OPERATORS}
    return dict(torch.export.default_decompositions()) | own


def _deform_conv(
    x: Any,
    weight: Any,
    offset: Any,
    importance: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Any:
    """`refilm.ops.ls3d_conv` in ONNX: one DeformConv for each output frame."""
    from onnxscript import opset22

    op: Any = opset22
    if groups != 1:
        raise UsageError(
            f"LS3D-Conv of {groups} groups has no form in ONNX's DeformConv, which would mix their offsets"
        )
    channels, frames = int(x.shape[1]), int(x.shape[2])
    out_channels, _, depth, height, width = (int(side) for side in weight.shape)
    if padding[0]:
        around = [0, 0, padding[0], 0, 0]
        x = op.Pad(x, op.Constant(value_ints=around + around))
    kernels = op.Reshape(
        op.Transpose(weight, perm=[0, 2, 1, 3, 4]),
        op.Constant(value_ints=[out_channels, depth * channels, height, width]),
    )
    results = []
    for frame in range((frames + 2 * padding[0] - dilation[0] * (depth - 1) - 1) // stride[0] + 1):
        under = [frame * stride[0] + tap * dilation[0] for tap in range(depth)]
        stacked = op.Concat(*(op.Gather(x, op.Constant(value_int=place), axis=2) for place in under), axis=1)
        own_offset, own_importance = (
            op.Gather(planes, op.Constant(value_int=frame), axis=2) for planes in (offset, importance)
        )
        result = op.DeformConv(
            stacked,
            kernels,
            own_offset,
            bias,
            own_importance,
            kernel_shape=[height, width],
            dilations=list(dilation[1:]),
            strides=list(stride[1:]),
            pads=[*padding[1:], *padding[1:]],
            offset_group=depth,
        )
        results.append(op.Unsqueeze(result, op.Constant(value_ints=[2])))
    return op.Concat(*results, axis=2)


def _difference(path: Path, form: Form) -> float:
    """The largest difference of ONNX Runtime's results from PyTorch's, on the example and, if it may, another size."""
    session, largest = _session(path), 0.0
    examples = [form.inputs]
    if not form.sized:
        examples.append({name: torch.cat([x, x], dim=-1) if x.ndim == 5 else x for name, x in form.inputs.items()})
    for inputs in examples:
        with torch.inference_mode():
            wanted = form.run(*inputs.values())
        wanted = [wanted.numpy()] if isinstance(wanted, Tensor) else [each.numpy() for each in wanted]
        found = session.run(None, {name: x.numpy() for name, x in inputs.items()})
        if form.ranked:
            # the best rows, each beside the nearest of the other run: which come last depends on rounding
            rows, others = (np.concatenate(results, axis=2)[0] for results in (wanted, found))
            rows = rows[np.argsort(-wanted[1][0].max(axis=1))[:_BEST]]
            largest = max(largest, float(np.abs(rows[:, None] - others).max(axis=2).min(axis=1).max()))
        else:
            largest = max(largest, *(float(np.abs(a - b).max()) for a, b in zip(wanted, found, strict=True)))
    return largest


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _name_sizes(graph: Any) -> None:
    """Call the free sizes "batch", "height" and "width", where the exporter has numbered them.

    Inner shapes are left to the runtime, which infers them itself; some of those that the exporter writes are wrong.
    """
    from onnxscript import ir

    clip = graph.inputs[0]
    symbols = {
        re.findall(r"s\d+", str(clip.shape[axis]))[0]: name
        for axis, name in ((0, "batch"), (3, "height"), (4, "width"))
        if not isinstance(clip.shape[axis], int)
    }
    for node in graph:
        for value in node.outputs:
            if value not in graph.outputs:
                value.shape = None
    for value in (*graph.inputs, *graph.outputs):
        for axis, side in enumerate(value.shape):
            if not isinstance(side, int):
                named = re.sub(r"s\d+", lambda found: symbols.get(found[0], found[0]), str(side.value))
                value.shape[axis] = ir.SymbolicDim(named)


def _shape(value: Any) -> list[int | str]:
    return [side if isinstance(side, int) else str(side.value) for side in value.shape]
