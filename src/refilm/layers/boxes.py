"""Boxes: anchors, their coding, overlaps, and the suppression of duplicates.

A box is (left, top, right, bottom) in pixels. All functions take batches, of as many boxes in each picture, and none of
them waits for the GPU but `not_suppressed` with `rounds` = None.

Source   Ren et al., "Faster R-CNN", NIPS 2015, arXiv 1506.01497, section 3.1.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Offsets of sizes are limited, so that no box is more than about 60 times as large as the one that it is coded by.
_LARGEST_LOG = math.log(1000 / 16)


def anchors(height: int, width: int, stride: int, sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """The anchors of all places of a map, by rows; at each place by ratios within sizes.

    sizes    roots of the areas, in pixels
    ratios   height / width
    out      [height * width * len(sizes) * len(ratios), 4], around the middles of the places
    """
    shapes = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for size in sizes for ratio in ratios]
    half = torch.tensor(shapes) / 2
    down, across = ((torch.arange(length) + 0.5) * stride for length in (height, width))
    y, x = torch.meshgrid(down, across, indexing="ij")
    middles = torch.stack([x, y], dim=-1).view(-1, 1, 2)
    return torch.cat([middles - half, middles + half], dim=-1).view(-1, 4)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes as offsets from anchors: of the middle relative to the size, and of the size as a logarithm. [..., 4]"""
    middle, size = _middle_and_size(boxes)
    anchor, extent = _middle_and_size(anchors)
    return torch.cat([(middle - anchor) / extent, (size.clamp(min=1e-3) / extent).log()], dim=-1)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The inverse of `encode`; sizes are limited. [..., 4]"""
    anchor, extent = _middle_and_size(anchors)
    middle = anchor + extent * offsets[..., :2]
    half = extent * offsets[..., 2:].clamp(max=_LARGEST_LOG).exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """The parts of boxes that lie in the picture; without any extent for those that lie beyond it. [..., 4]"""
    limits = boxes.new_tensor([width, height, width, height])
    return boxes.clamp(min=0).minimum(limits)


def areas(boxes: Tensor) -> Tensor:
    """[..., 4] -> [...], in pixels; 0 for those without any extent"""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each pair. [..., A, 4] and [..., B, 4] -> [..., A, B], 0 where both are empty"""
    inner = intersections(first, second)
    union = areas(first).unsqueeze(-1) + areas(second).unsqueeze(-2) - inner
    return inner / union.clamp(min=1e-6)


def intersections(first: Tensor, second: Tensor) -> Tensor:
    """Area that each pair has in common. [..., A, 4] and [..., B, 4] -> [..., A, B]"""
    low = torch.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = torch.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


def not_suppressed(boxes: Tensor, threshold: float, rounds: int | None = None) -> Tensor:
    """Which boxes no better one suppresses: greedy non-maximum suppression. [..., K, 4], best first -> [..., K] bool

    A box is suppressed by a better one that is not suppressed itself and overlaps it by more than `threshold`. This is
    found by repetition: after r rounds it is right for chains of r boxes, of which each would suppress the next, and
    when a round changes nothing it is right for all.

    rounds   so many, without waiting for the device to see whether a round changes anything; None: until none does
    """
    count = boxes.shape[-2]
    better = torch.ones(count, count, dtype=torch.bool, device=boxes.device).triu(1)
    suppresses = (overlaps(boxes, boxes) > threshold) & better
    kept = torch.ones(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    for _ in range(count if rounds is None else rounds):
        before = kept
        kept = ~(suppresses & kept.unsqueeze(-1)).any(dim=-2)
        if rounds is None and torch.equal(kept, before):
            break
    return kept


def _middle_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low
