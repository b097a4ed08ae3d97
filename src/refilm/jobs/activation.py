"""A picture of where in the frames a recogniser finds what it says: class activation maps.

Source   Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016: the classifier is applied at
         every place of the last map instead of to its mean. For a model without such a map, the gradient of the class
         by the input, as in Simonyan et al., arXiv 1312.6034.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.errors import UsageError, VideoError
from refilm.models.contract import Recognizer
from refilm.stages.snippets import SmallFrame, chosen, clip_of, reduced
from refilm.stages.timeline import Label
from refilm.video import VideoReader

# Frames shown, at most, and in a row; the height of each in pixels.
_MOST, _IN_ROW, _HEIGHT = 12, 4, 240
# Share of the heat in the picture, where it is greatest.
_HEAT = 0.6
# A gradient is noisy from pixel to pixel: it is averaged over this share of the picture's height.
_BLUR = 0.05


@dataclass(frozen=True)
class Activation:
    """What belongs to a picture of a recogniser's activation.

    start, end   of the stretch of film, in seconds since its first frame
    labels       the likeliest labels
    shown        the label whose activation is shown
    frames       number of frames in the picture
    """

    start: Fraction
    end: Fraction
    labels: tuple[Label, ...]
    shown: Label
    frames: int


def activation(
    path: Path, out: Path, network: Any, name: str, seconds: Fraction | None = None, label: str | None = None
) -> Activation:
    """Write a picture of the frames that a recogniser sees, with what speaks for one label in warm colours.

    path      the film
    out       PNG
    network   the recogniser, in evaluation mode; `name`: for messages
    seconds   a time in the stretch of film, since its first frame; None: in the middle of the film
    label     None: the likeliest

    Raises UsageError for a label that the model does not know and a time outside of the film, VideoError if the film
    cannot be read or the picture not be written.
    """
    model: Recognizer = network
    if label is not None and label not in model.labels:
        raise UsageError(f"{name} knows no label {label!r}; there are: {', '.join(model.labels)}")
    frames, (begin, end), (zero, shape) = _stretch(path, seconds, model)
    clip = clip_of(frames)[None]
    with torch.inference_mode():
        scores = model(clip)[0].float().softmax(0)
    labels = tuple(Label(model.labels[n], float(scores[n])) for n in scores.argsort(descending=True).tolist())
    place = model.labels.index(labels[0].label if label is None else label)
    heat = heat_of(model, clip, place)
    places = torch.linspace(0, len(frames) - 1, min(len(frames), _MOST)).round().int().tolist()
    cards = [_card(frames[n], heat[n].numpy(), shape, frames[n].time - zero) for n in places]
    across = min(_IN_ROW, len(cards))
    cards += [np.zeros_like(cards[0])] * (-len(cards) % across)
    rows = [np.concatenate(cards[n : n + across], axis=1) for n in range(0, len(cards), across)]
    if not cv2.imwrite(str(out), np.concatenate(rows)):
        raise VideoError(f"{out}: cannot be written; the folder must exist")
    shown = Label(model.labels[place], float(scores[place]))
    return Activation(begin - zero, end - zero, labels, shown, len(places))


def heat_of(model: Recognizer, clip: Tensor, label: int) -> Tensor:
    """Where in a clip there is what speaks for a label, from 0 to 1. [1, 3, T, H, W] -> [T, H, W]"""
    size = clip.shape[2:]
    with torch.inference_mode():
        maps = model.activation(clip)
    if maps is not None:
        found = F.interpolate(maps[:, label : label + 1].float(), size, mode="trilinear")[0, 0]
        # what speaks against it counts as nothing, unless all does
        found = found - found.amin() if found.amax() <= 0 else found.clamp(min=0)
    else:
        seen = clip.clone().requires_grad_()
        model(seen)[0, label].backward()
        assert seen.grad is not None
        found = seen.grad[0].abs().sum(0)
        side = max(round(_BLUR * size[1]) // 2 * 2 + 1, 1)
        found = F.avg_pool2d(found[None], side, 1, side // 2, count_include_pad=False)[0]
    return found / found.amax().clamp(min=torch.finfo(found.dtype).tiny)


def _stretch(
    path: Path, seconds: Fraction | None, model: Recognizer
) -> tuple[list[SmallFrame], tuple[Fraction, Fraction], tuple[Fraction, float]]:
    """The frames that the model sees around a time, when their stretch begins and ends, and of the film, the time of
    its first frame and the shape of its pictures, width / height."""
    sampling = model.sampling
    with VideoReader(path) as reader:
        info, held = reader.info, list[SmallFrame]()
        zero, step = info.start_time, sampling.seconds
        if seconds is None:
            seconds = (info.duration or Fraction(0)) / 2
        begin = zero + seconds // step * step
        for frame in reader:
            if frame.time >= begin + step:
                break
            while len(held) > 1 and held[1].time <= begin:
                del held[0]
            held.append(reduced(frame, sampling.height, sampling.width, info.rotation))
        film_end = held[-1].time + held[-1].duration
        if zero + seconds > film_end:
            raise UsageError(f"{path}: ends at {float(film_end - zero):g} s, before {float(seconds):g} s")
        end = min(begin + step, film_end)
        if begin >= end:  # the very end of the film
            begin = held[-1].time
        shown = info.width * info.sample_aspect_ratio / info.height
        places = chosen(sampling, [frame.time for frame in held], begin, end)
        return [held[n] for n in places], (begin, end), (zero, float(1 / shown if info.rotation % 180 else shown))


def _card(frame: SmallFrame, heat: np.ndarray, shape: float, time: Fraction) -> np.ndarray:
    """A frame with its heat over it, and its time; BGR. `heat`: [H, W], 0 ... 1"""
    green, blue, red = frame.planes
    size = (max(round(_HEIGHT * shape), 1), _HEIGHT)
    picture = cv2.resize(np.stack([blue, green, red], axis=-1), size, interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap((255 * share).round().astype(np.uint8), cv2.COLORMAP_JET)
    weight = _HEAT * share[..., None]
    mixed = (picture * (1 - weight) + colours * weight).round().astype(np.uint8)
    place, font = (6, size[1] - 8), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(mixed, f"{float(time):.2f} s", place, font, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return mixed
