"""The losses of a detector in two stages, over whole batches, without waiting for the GPU.

Source   Faster R-CNN, sections 3.1.2 and 3.1.3; online hard example mining as in R-FCN, section 2.4 (Shrivastava et
         al., CVPR 2016). Both stages choose their negatives by their loss, and nothing at random.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.layers.boxes import areas, encode, intersections, overlaps
from refilm.models.rfcn import OFFSET_STD, Regions

# Overlaps from which an anchor is an object, and up to which it is none.
_IS_OBJECT, _IS_NONE = 0.6, 0.3
# For the best anchor of an object, that much is enough.
_LEAST_BEST = 0.2
_NEGATIVES, _LEAST_NEGATIVES, _MOST_NEGATIVES = 3, 16, 192  # for each positive anchor; in a frame
_SAME_CLASS = 0.5  # overlap from which a region shows an object
_COVERED = 0.5  # share within an object that is not to be learned, from which a region is none of the negatives
# In frames where other objects may be seen, only what touches a known object by this overlap is known to be none.
_TOUCHES = 0.1


class Known(NamedTuple):
    """The objects of N frames.

    boxes     [N, K, 4], in pixels
    labels    [N, K]: the class; HIDDEN for an object that is not to be learned, ABSENT where there is none
    complete  [N], whether there are no others
    """

    boxes: Tensor
    labels: Tensor
    complete: Tensor


ABSENT, HIDDEN = -1, -2


class Matches(NamedTuple):
    """What boxes have to do with the objects.

    overlap   [N, R], with the object of `place`
    place     [N, R], of the object that is overlapped most
    to_learn  [N, R], whether a box that shows no object is known to show none
    each      [N, R, K], all overlaps; 0 with objects that are not to be learned
    """

    overlap: Tensor
    place: Tensor
    to_learn: Tensor
    each: Tensor


def matches(boxes: Tensor, known: Known) -> Matches:
    """Compare boxes [N, R, 4] with the objects."""
    each = overlaps(boxes, known.boxes) * (known.labels >= 0).unsqueeze(1)
    overlap, place = each.max(dim=2)
    inside = intersections(boxes, known.boxes) / areas(boxes).clamp(min=1e-6).unsqueeze(2)
    hidden = ((inside > _COVERED) & (known.labels == HIDDEN).unsqueeze(1)).any(dim=2)
    to_learn = ~hidden & (known.complete.unsqueeze(1) | (overlap > _TOUCHES))
    return Matches(overlap, place, to_learn, each)


def _of_objects(values: Tensor, place: Tensor) -> Tensor:
    """The boxes of objects by their places. [N, K, 4], [N, R] -> [N, R, 4]"""
    return values.gather(1, place.unsqueeze(-1).expand(-1, -1, 4))


def region_losses(regions: Regions, known: Known) -> tuple[Tensor, Tensor]:
    """The losses of the region proposals: of what is an object, and of its box."""
    boxes = regions.anchors.expand(len(known.boxes), -1, -1)
    found = matches(boxes, known)
    best = found.each.max(dim=1, keepdim=True).values  # of each object
    positive = (found.overlap >= _IS_OBJECT) | ((found.each >= best - 1e-4) & (found.each > _LEAST_BEST)).any(dim=2)
    negative = ~positive & (found.overlap < _IS_NONE) & found.to_learn
    loss = F.binary_cross_entropy_with_logits(regions.logits, positive.float(), reduction="none")
    count = positive.sum(dim=1)
    hardest = torch.where(negative, loss.detach(), torch.zeros_like(loss)).topk(min(_MOST_NEGATIVES, loss.shape[1]), 1)
    wanted = torch.arange(hardest.indices.shape[1], device=loss.device) < (
        (_NEGATIVES * count).clamp(min=_LEAST_NEGATIVES).unsqueeze(1)
    )
    chosen = torch.zeros_like(positive).scatter(1, hardest.indices, wanted) & negative | positive
    objectness = (loss * chosen).sum() / chosen.sum().clamp(min=1)
    target = encode(_of_objects(known.boxes, found.place), boxes)
    distance = F.smooth_l1_loss(regions.offsets, target, reduction="none", beta=1 / 9).sum(dim=2)
    box = (distance * positive).sum() / positive.sum().clamp(min=1)
    return objectness, box


def judged_losses(logits: Tensor, offsets: Tensor, boxes: Tensor, known: Known, hard: int) -> tuple[Tensor, Tensor]:
    """The losses of the second stage, over the `hard` regions of each frame with the largest sum of both.

    logits   [N, R, 1 + classes]
    offsets  [N, R, 4], normalised
    boxes    [N, R, 4], the regions; those without any extent do not count
    """
    found = matches(boxes, known)
    is_object = found.overlap >= _SAME_CLASS
    target = torch.where(is_object, known.labels.gather(1, found.place) + 1, 0)
    valid = (is_object | found.to_learn) & (areas(boxes) > 0)
    classes = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
    # places without objects have no size to compare with
    safe = torch.where(valid.unsqueeze(2), boxes, boxes.new_tensor([0.0, 0.0, 1.0, 1.0]))
    wanted = encode(_of_objects(known.boxes, found.place), safe) / offsets.new_tensor(OFFSET_STD)
    distance = F.smooth_l1_loss(offsets, wanted, reduction="none").sum(dim=2) * is_object
    both = torch.where(valid, (classes + distance).detach(), torch.full_like(classes, -1.0))
    hardest = both.topk(min(hard, both.shape[1]), dim=1).indices
    chosen = valid.gather(1, hardest)
    count = chosen.sum().clamp(min=1)
    return tuple((each.gather(1, hardest) * chosen).sum() / count for each in (classes, distance))  # type: ignore[return-value]
