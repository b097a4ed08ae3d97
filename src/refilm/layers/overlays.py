"""Lettering, logos and subtitles that stand still over a moving picture.

A pixel belongs to an overlay if two frames are equal there although everything around it moves, so much that the motion
around it would have brought something else to that place. Where motion is too fast to be known, so does an edge that is
the same in four frames, though the flow would have moved it. Optical flow is smooth, and mixes the motion of an overlay
with that of what lies behind; here it is parted again. docs/choices.md#overlays has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.layers.sampling import box_mean, sample

EQUAL = 20  # largest difference between two frames, in 8-bit codes, for pixels that count as equal
FOREIGN = 24  # least difference, beyond three times that, from what the motion around a pixel would have brought there
STILL = 2.0  # pixels: slower motion around a pixel is not told from standing still
DENSE = 0.25  # least share of such pixels in a square of 5x5 around one: single ones are chance
WINDOW = 7  # squares along the height of the picture, in which so many such pixels must be as lettering has ...
LEAST = 0.045  # ... as a share, if the frames on either side of the pair also show it; else two or four times as many
STROKE = 26  # thickest strokes, along the height of the picture
BLOCKS = 24  # blocks along the height of the picture, each with the mean of its motion
AROUND = 5  # blocks along a side of the square over which the motion around a pixel is the median
MOVING = 0.8  # least share of the blocks of that square that move
UNEXPLAINED = 0.5  # share of the change of a block that its flow may leave unexplained ...
LITTLE = 4  # ... unless the block changes by less than this on the mean, in 8-bit codes
STRONG = 64  # least gradient of an edge that lasts through four frames, as Sobel's operator gives it
SAME = 0.35  # largest deviation of its gradient in any of them, as a share of it
OTHER = 0.7  # least deviation of the gradient that the flow would have brought there
CHANGED = 0.2  # least share of pixels that are not equal in a square of 9x9 around one
TOGETHER = 0.2  # least share of such pixels in a square of a 14th of the picture's height around one
EDGE = 2  # pixels by which an overlay is widened, for its soft edges
FILLING = 15  # side of the square from which overlays are filled, where neither frame shows what lies behind
NEAR = 10  # pixels around an overlay in which the flow may be mixed


class Overlays(NamedTuple):
    """The overlays of a pair of frames.

    place    [N, 1, H, W]      1 where both frames show an overlay, which is to stay as it is, 0 elsewhere
    visible  [N, 1, H, W]      1 where both frames show what lies behind, 0 on overlays and their soft edges
    flow     [2, N, 2, H, W]   the flow of what lies behind
    """

    place: Tensor
    visible: Tensor
    flow: Tensor


def find_overlays(luma: Sequence[np.ndarray], flow: Tensor) -> Overlays | None:
    """The overlays of a pair of frames; None if there are none.

    luma    [N, H, W] uint8, of the pair; or of four frames, with the one before and the one after, which must also
            show an overlay unless they repeat the pair's
    flow    [2, N, 2, H, W], on the CPU, from the first frame of the pair to the second, and back
    """
    places, behind = [], flow
    for n in range(flow.shape[1]):
        frames = [frame[n] for frame in luma]
        place, motions = _place(frames, flow[:, n])
        place |= np.where(cv2.dilate(place, _square(NEAR)) == 0, _lasting_edges(frames, flow[:, n]), 0).astype(np.uint8)
        places.append(place)
        if not place.any():
            continue
        if behind is flow:
            behind = flow.clone()
        near = cv2.dilate(place, _square(NEAR)) > 0
        visible = (cv2.dilate(place, _square(EDGE)) == 0).astype(np.float32)
        pair = luma[len(luma) // 2 - 1][n], luma[len(luma) // 2][n]
        for way, motion, origin, target in zip(behind[:, n], motions, pair, pair[::-1], strict=True):
            mixed = way.permute(1, 2, 0).numpy()  # a view of `behind`
            better = _residual(origin, target, motion, visible) <= _residual(origin, target, mixed, visible)
            mixed[near & better] = motion[near & better]
    if behind is flow:
        return None
    return Overlays(_planes(places), 1 - _planes([cv2.dilate(place, _square(EDGE)) for place in places]), behind)


def without_overlays(frame: Tensor, visible: Tensor) -> Tensor:
    """A frame with overlays replaced by the mean of what is visible around them. [N, 3, H, W] -> same shape.

    visible  [N, 1, H, W], see `Overlays`
    """
    share = box_mean(visible, FILLING)
    mean = box_mean(frame * visible, FILLING) / share.clamp(min=1e-6)
    return torch.where((visible > 0) | (share == 0), frame, mean)


def _place(luma: Sequence[np.ndarray], flow: Tensor) -> tuple[np.ndarray, list[np.ndarray]]:
    """1 where an overlay is, [H, W] uint8, and the motions of what lies behind, there and back, [H, W, 2] each.

    luma   [H, W] uint8 each
    flow   [2, 2, H, W]
    """
    pair = luma[len(luma) // 2 - 1 :][:2]
    around = [_motion_around(way, *frames) for way, frames in zip(flow, (pair, pair[::-1]), strict=True)]
    motions, found = [motion for motion, _ in around], around[0][1] & around[1][1]
    if not found.any():
        return found.astype(np.uint8), motions
    change, least = cv2.absdiff(*pair), LEAST
    for frame, beyond in zip(pair, (luma[0], luma[-1]), strict=True):
        if np.array_equal(frame, beyond):  # there is none
            least *= 2
        else:
            change = np.maximum(change, cv2.absdiff(frame, beyond))
    equal = change <= EQUAL
    least_foreign = FOREIGN + 3 * np.minimum(change, EQUAL)

    def foreign(of_both: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Where the motions would have brought something else: both (np.minimum), or one of them (np.maximum)."""
        brought = [_brought(other, motion) for other, motion in zip(pair[::-1], motions, strict=True)]
        differences = [cv2.absdiff(frame, other) for frame, other in zip(pair, brought, strict=True)]
        is_foreign: np.ndarray = equal & (of_both(*differences) > least_foreign)
        return is_foreign & (_mean(is_foreign.astype(np.float32), 5) > DENSE)

    found &= foreign(np.minimum)
    side = len(found) // WINDOW | 1
    share = _mean(found.astype(np.float32), side)
    region = cv2.dilate((share > least).astype(np.uint8), _square(side // 2)) > 0
    if not region.any():
        return region.astype(np.uint8), motions
    # the same again, with the motion that is behind these pixels, for the parts of an overlay that lie over less motion
    for motion in motions:
        behind = _mean(motion * found[..., None], side) / np.maximum(share, 1e-6)[..., None]
        motion[region] = behind[region]
    place = (region & foreign(np.maximum)).astype(np.uint8)
    for _ in range(3):  # soft edges, and parts to which both motions have brought other letters
        place = np.where(equal, cv2.dilate(place, _square(EDGE)), 0).astype(np.uint8)
    # lettering is thin: thick parts are background at rest, in front of which something moves
    thick = cv2.erode(place, _square(len(place) // STROKE // 2), borderValue=0)
    place[cv2.dilate(thick, _square(2 * side)) > 0] = 0
    enough = (_mean(place.astype(np.float32), side) > least).astype(np.uint8)
    return place & cv2.dilate(enough, _square(side // 2)), motions


def _lasting_edges(luma: Sequence[np.ndarray], flow: Tensor) -> np.ndarray:
    """1 on edges that are the same in four frames though the flow there differs, [H, W] uint8.

    luma   [H, W] uint8 each; from fewer than four different frames, nothing is told
    flow   [2, 2, H, W]
    """
    nothing = np.zeros(luma[0].shape, np.uint8)
    if len(luma) < 4 or np.array_equal(luma[0], luma[1]) or np.array_equal(luma[2], luma[3]):
        return nothing
    gradients = [_gradient(frame) for frame in luma]
    total = [reduce(cv2.add, planes) for planes in zip(*gradients, strict=True)]  # of both components, as int16
    size = cv2.magnitude(*(plane.astype(np.float32) for plane in total)) / len(gradients)
    # strong edges are few, so from here on only they are looked at
    place = np.flatnonzero(size > STRONG)
    mean, size = _at(total, place) / len(gradients), size.ravel()[place]
    for gradient in gradients:
        lasts = np.linalg.norm(_at(gradient, place) - mean, axis=0) < SAME * size
        place, mean, size = place[lasts], mean[:, lasts], size[lasts]
    if not place.size:
        return nothing
    brought = [
        sample(torch.from_numpy(np.stack(other)).float()[None], _moved(way, place))[0, :, 0].numpy()
        for way, other in zip(flow, gradients[2:0:-1], strict=True)
    ]
    differs = np.maximum(*(np.linalg.norm(other - mean, axis=0) for other in brought)) > OTHER * size
    lasting = nothing.astype(bool)
    lasting.ravel()[place[differs]] = True
    changes = np.maximum.reduce([cv2.absdiff(frame, luma[0]) for frame in luma[1:]]) > EQUAL
    lasting &= _mean(changes.astype(np.float32), 9) > CHANGED
    lasting &= _mean(lasting.astype(np.float32), max(len(nothing) // 14, 15) | 1) > TOGETHER
    return cv2.dilate(lasting.astype(np.uint8), _square(1))


def _gradient(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Its components along x and y. [H, W] uint8 -> [H, W] int16 twice"""
    return cv2.Sobel(frame, cv2.CV_16S, 1, 0), cv2.Sobel(frame, cv2.CV_16S, 0, 1)


def _at(planes: Sequence[np.ndarray], place: np.ndarray) -> np.ndarray:
    """The values of planes at some pixels, given by their numbers. -> [planes, pixels] float32"""
    return np.stack([plane.ravel()[place] for plane in planes]).astype(np.float32)


def _moved(flow: Tensor, place: np.ndarray) -> Tensor:
    """Where some pixels, given by their numbers, are brought by a flow. [2, H, W] -> [1, 2, 1, pixels]"""
    numbers = torch.from_numpy(place)
    here = torch.stack((numbers % flow.shape[2], numbers // flow.shape[2]))
    return (here + flow.flatten(1)[:, numbers])[None, :, None]


def _motion_around(flow: Tensor, origin: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The median motion around each pixel, [H, W, 2], and whether nearly everything there moves, [H, W].

    Blocks whose flow explains their change badly count for nothing: there it is mixed with that of an overlay.

    flow             [2, H, W], from `origin` to `target`
    origin, target   [H, W] uint8
    """
    height, width = origin.shape
    side = max(height // BLOCKS, 8)
    left = cv2.absdiff(origin, _brought(target, flow.permute(1, 2, 0).numpy()))
    planes = np.stack((left, cv2.absdiff(origin, target))).astype(np.float32)
    blocks = F.avg_pool2d(torch.cat((flow, torch.from_numpy(planes)))[None], side, ceil_mode=True)
    h, w = blocks.shape[2:]
    change = blocks[:, 3:]
    # where nothing changes, nothing is seen to move, whatever the flow is
    seen = torch.where(change > LITTLE, blocks[:, :2], 0.0)
    unknown = (change > LITTLE) & (blocks[:, 2:3] > UNEXPLAINED * change)
    squares = F.unfold(F.pad(seen.masked_fill(unknown, torch.nan), [AROUND // 2] * 4, mode="replicate"), AROUND).view(
        2, AROUND**2, h, w
    )
    median = squares.nanmedian(dim=1).values.nan_to_num()
    share = (squares.square().sum(0) > STILL**2).float().sum(0) / (~squares[0].isnan()).float().sum(0).clamp(min=1)
    moves = (share > MOVING) & (median.square().sum(0) > STILL**2)
    size = side * w, side * h
    motion = cv2.resize(median.permute(1, 2, 0).numpy(), size, interpolation=cv2.INTER_LINEAR)
    everywhere = cv2.resize(moves.byte().numpy(), size, interpolation=cv2.INTER_NEAREST) > 0
    return motion[:height, :width].copy(), everywhere[:height, :width]


def _brought(frame: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A frame carried back along a motion. [H, W] or [H, W, C], [H, W, 2] -> the shape and type of the frame"""
    height, width = frame.shape[:2]
    x = motion[..., 0] + np.arange(width, dtype=np.float32)
    y = motion[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _residual(origin: np.ndarray, target: np.ndarray, motion: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """How far a motion is from explaining what is visible of a frame, as a sum over 5x5 pixels. -> [H, W] float32"""
    return _mean(cv2.absdiff(origin, _brought(target, motion)) * visible, 5)


def _mean(plane: np.ndarray, side: int) -> np.ndarray:
    """The mean over a square of odd `side` around each pixel."""
    return cv2.boxFilter(plane, -1, (side, side))


def _square(reach: int) -> np.ndarray:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _planes(places: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(places)).float().unsqueeze(1)
