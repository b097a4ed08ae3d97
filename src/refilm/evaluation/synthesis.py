"""A picture of how MEMC-Net or DAIN makes a new frame: motion, order of depth, kernels, weights and corrections."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.errors import UsageError, VideoError
from refilm.evaluation.metrics import as_shown
from refilm.evaluation.plots import sheet
from refilm.evaluation.sampling import interval_at
from refilm.evaluation.through_pictures import flow_picture
from refilm.models.projected_flow import ProjectedFlow, Steps, bilinear_kernel
from refilm.models.table import MODELS, create_model

HALF = Fraction(1, 2)
# Flow, depth and kernels are shown on a scale that ends at this quantile, so that single pixels do not darken the rest;
# it is taken from every fourth row and column.
_BRIGHTEST, _THINNED = 0.99, (..., slice(None, None, 4), slice(None, None, 4))
_WIDEST = 640  # pixels of a frame in the sheet; larger ones are reduced


def explain_synthesis(
    path: str | Path, seconds: float, out: str | Path, model: str, weights: str | Path = "default"
) -> tuple[Fraction, Fraction]:
    """Write a sheet of how the frame half-way between two frames comes about, as PNG.

    From top to bottom, for the first frame on the left and for the second on the right: the frame; its motion to the
    new frame, whose direction is the hue and whose length the brightness; for DAIN, the depth, where near is bright;
    how far its kernels are from bilinear sampling; the frame as it is warped; its weight in the blend; and at last the
    blend and, on the right, the new frame, in which the colours are corrected.

    path      the video
    seconds   the new frame lies half-way between the two frames around this time
    model     name of a model of this kind

    -> the times of the two frames, in seconds. Raises UsageError for another model, or a time outside the video;
    VideoError if the video cannot be read or the picture not be written; WeightsError as `create_model`.
    """
    network: Any = create_model(model, weights=weights)
    if not isinstance(network, ProjectedFlow):
        able = [name for name, row in MODELS.items() if name.startswith(("memc-net", "dain"))]
        raise UsageError(f"{model} wants a place: --at T,X,Y; a time alone is for {', '.join(able)}")
    interval = interval_at(Path(path), seconds, network.eval())
    assert interval.second is not None
    multiple = network.size_multiple
    clip = interval.clip()[None]
    height, width = (side // multiple * multiple for side in clip.shape[3:])
    clip = clip[..., :height, :width]
    with torch.inference_mode():
        rows = pictures(clip, network.explained(clip, HALF))
    reduction = -(-width // _WIDEST)
    shown = [F.avg_pool2d(row, reduction) for row in rows.values()]
    if not cv2.imwrite(str(out), sheet(shown, list(rows), enlarge=1)):
        raise VideoError(f"{out}: cannot be written; the folder must exist")
    return interval.first.time, interval.second.time


def pictures(clip: Tensor, steps: Steps) -> dict[str, Tensor]:
    """The rows of the sheet by their names, [2, 3, H, W] each, in [0, 1]. `clip` [1, 3, window, H, W]."""
    middle = clip.shape[2] // 2
    rows = {"frames": clip[0, :, middle - 1 : middle + 1].transpose(0, 1), "motion": _flows(steps.flow[:, 0])}
    if steps.log_depth is not None:
        nearness = -steps.log_depth[:, 0]
        lowest, highest = (nearness[_THINNED].quantile(share) for share in (1 - _BRIGHTEST, _BRIGHTEST))
        rows["near is bright"] = _gray((nearness - lowest) / (highest - lowest).clamp_min(1e-6))
    side = int(steps.kernels.shape[2] ** 0.5)
    departure = (steps.kernels[:, 0] - bilinear_kernel(side, steps.kernels)).abs().sum(1, keepdim=True)
    rows["kernels"] = _gray(departure / departure[_THINNED].quantile(_BRIGHTEST).clamp_min(1e-6))
    rows["warped"] = steps.warped[:, 0]
    rows["weights"] = _gray(steps.weights[:, 0])
    rows["blend, result"] = torch.cat((steps.blend, steps.frame))
    return {name: as_shown(row) for name, row in rows.items()}


def _gray(planes: Tensor) -> Tensor:
    return planes.expand(-1, 3, -1, -1)


def _flows(flows: Tensor) -> Tensor:
    """[2, 2, H, W] -> [2, 3, H, W], red, green, blue, on one scale."""
    largest = max(float(flows.norm(dim=1)[_THINNED].quantile(_BRIGHTEST)), 1.0)
    drawn = [np.ascontiguousarray(flow_picture(flow, largest)[..., ::-1]) for flow in flows]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255
