"""What MEMC-Net and DAIN have in common: motion that is projected to the new frame, and frames warped along it.

Source   flow projection and adaptive warping: MEMC-Net and DAIN, see `memc_net.py` and `dain.py`.
Departs  the papers train a flow network with the rest (FlowNetS, PWC-Net), whose weights are not to be had here. Its
         place takes the motion of flow-blend (`motion`), and a small network that corrects it. The motion
         includes flow-blend's acceleration where there are frames before and after the pair.

Networks start at the classical result: corrections of the flow, of kernels and of colours begin at zero, and weights
at 1 - t and t. A model that is not trained is therefore `projected_blend`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.sampling import box_mean, pixel_grid, sample
from refilm.layers.unet import at_zero, convs_with_relu, he_start
from refilm.models.contract import Interpolator, Lesson, check_clip, check_times
from refilm.models.flow_blend import (
    PAIRS,
    QUARTERS,
    FlowBlend,
    FlowBlendConfig,
    mixed,
    pair_of,
    with_ends,
    with_overlays,
)
from refilm.ops import adaptive_warp, flow_projection

# Factors on what heads say. With factors of 1, the first steps of a training change the result so much that it does not
# recover (docs/choices.md#vi-ls3d-flow).
OF_FLOW, OF_KERNELS, OF_COLOUR = 0.3, 0.1, 0.02

FLOW_UNIT = 20.0  # pixels of flow that are 1 in the input of a network, as in the published code
CLEARER, AROUND = 8.0, 9  # factor on differences in what networks see, and the side of the square around, in pixels
OF_DIFFERENCES = 3 * 3 + 2  # planes of `differences`
COARSE = 4  # the network that corrects the flow sees means of squares of this side, in pixels


class Steps(NamedTuple):
    """How a new frame comes about. The two frames of the pair are stacked: frame 0, then frame 1.

    frame     [N, 3, H, W]          the new frame, not clamped
    blend     [N, 3, H, W]          before the colours were corrected
    flow      [2, N, 2, H, W]       projected: from the new frame to each frame of the pair, (dx, dy) in pixels
    filled    [2, N, 1, H, W] bool  whether any pixel landed there; the rest are holes
    warped    [2, N, 3, H, W]       the frames of the pair, warped adaptively
    kernels   [2, N, R*R, H, W]     by which they were
    weights   [2, N, 1, H, W]       of the warped frames in the blend; their sum is 1, or what flow-blend's frame leaves
    log_depth [2, N, 1, H, W]       logarithm of the depth of the frames of the pair, in no unit; None: not estimated
    """

    frame: Tensor
    blend: Tensor
    flow: Tensor
    filled: Tensor
    warped: Tensor
    kernels: Tensor
    weights: Tensor
    log_depth: Tensor | None = None


class ProjectedFlow(nn.Module, Interpolator):
    """Interpolation along motion that is projected to the time of the new frame: the base of MEMC-Net and DAIN.

    What estimates the motion is `flow_blend`; of it, `before_bands` is used, and in training the plain alternative.

    shuffle     the networks see squares of this side, in pixels, as channels
    motion      of flow-blend: where the motion comes from, and how finely
    correction  width of the network that corrects the flow
    """

    task = "interpolation"
    window = FlowBlend.window
    reach = None  # motion is estimated, and carried, over the whole frame: tiles would not give the same result
    plain = "flow-blend"

    def __init__(self, shuffle: int, motion: FlowBlendConfig, correction: int) -> None:
        super().__init__()
        self.shuffle = shuffle
        self.flow_blend = FlowBlend(motion)
        self.correction = FlowCorrection(correction)

    @property
    def size_multiple(self) -> int:
        return self.shuffle

    @property
    def remembered(self) -> float:
        return self.flow_blend.remembered

    @abstractmethod
    def steps(self, frames: Tensor, motion: Tensor, times: Sequence[Fraction]) -> Iterator[Steps]:
        """The new frames at `times`, one after another, with what led to them.

        frames   [2, N, 3, H, W], frame 0 and frame 1
        motion   [2, N, 4, H, W], as `FlowBlend.before_bands` gives it: from frame 0 to 1, then from 1 to 0
        """

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2 or 4, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; first and last are the pair itself."""
        return with_ends(clip, self.between(clip, QUARTERS))

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """As `FlowBlend.between`, but H and W are multiples of `size_multiple`, and the result is not clamped."""
        check_clip(self, clip, PAIRS)
        check_times(times)
        if not times:
            return clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])
        return torch.stack([frame for frame, _ in self._made(clip, times)], dim=2)

    def unlearned(self, clip: Tensor) -> Sequence[Tensor]:
        """See `Interpolator.unlearned`."""
        return self.flow_blend.unlearned(clip)

    def lesson(
        self, clip: Tensor, times: Sequence[Fraction], margin: int = 0, unlearned: Sequence[Tensor] = ()
    ) -> Lesson:
        """See `Interpolator.lesson`. The networks see the whole clip, since motion carries pixels out of the margin."""
        frames, plain = [], []
        inside = (..., slice(margin, -margin or None), slice(margin, -margin or None))
        for time, (frame, seen) in zip(times, self._made(clip, times, unlearned), strict=True):
            frames.append(frame[inside])
            with torch.no_grad():
                pictures, votes, _ = self.flow_blend.candidates_of_rows(clip, seen, time, 0, clip.shape[3])
                plain.append(mixed(pictures, votes)[inside])
        return Lesson(torch.stack(frames, dim=2), torch.stack(plain, dim=2))

    def explained(self, clip: Tensor, time: Fraction) -> Steps:
        """How the new frame at a time comes about, but for overlays. `clip` as for `between`."""
        check_clip(self, clip, PAIRS)
        motion, *_ = self.flow_blend.before_bands(clip)
        return next(iter(self.steps(torch.stack(pair_of(clip).unbind(2)), motion, [time])))

    def _made(
        self, clip: Tensor, times: Sequence[Fraction], seen: Sequence[Tensor] = ()
    ) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
        """The new frame at each of `times`, [N, 3, H, W], and what flow-blend has seen, unless that is given."""
        seen = seen or self.flow_blend.before_bands(clip)
        motion, *overlays = seen
        frames = torch.stack(overlays[2:] or pair_of(clip).unbind(2))
        for time, steps in zip(times, self.steps(frames, motion.to(frames.dtype), times), strict=True):
            yield with_overlays(steps.frame, clip, seen, time, 0, clip.shape[3]), seen

    def corrected(self, frames: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Motion [2, N, 4, H, W] with its flow corrected, and the planes in which the correction was seen, `compared`.

        Arguments as for `steps`.
        """
        planes = compared(frames, motion[:, :, :2])
        flow = motion[:, :, :2] + apart(self.correction(planes))
        return torch.cat([flow, motion[:, :, 2:]], dim=2), planes

    def shuffled(self, planes: Tensor) -> Tensor:
        """Squares of pixels as channels. [N, C, H, W] -> [N, C * shuffle^2, H / shuffle, W / shuffle]"""
        return F.pixel_unshuffle(planes, self.shuffle) if self.shuffle > 1 else planes

    def reduced(self, planes: Tensor) -> Tensor:
        """The mean over squares of pixels. [N, C, H, W] -> [N, C, H / shuffle, W / shuffle]"""
        return F.avg_pool2d(planes, self.shuffle) if self.shuffle > 1 else planes

    def enlarged(self, planes: Tensor) -> Tensor:
        """Bilinear, from the size at which networks work. [N, C, H / shuffle, W / shuffle] -> [N, C, H, W]"""
        if self.shuffle == 1:
            return planes
        return F.interpolate(planes, scale_factor=self.shuffle, mode="bilinear", align_corners=False)

    def warped_context(self, context: Tensor, flow: Tensor, kernels: Tensor) -> Tensor:
        """Features of both frames warped as the frames are, but at the size at which networks work.

        They do not train the flow and the kernels, as in the published code: these follow the colours alone.

        context  [2N, C, h, w]
        flow     [2N, 2, H, W], in pixels of the frame
        kernels  [2N, R*R, h, w]
        """
        return adaptive_warp(context.float(), self.reduced(flow.detach()) / self.shuffle, kernels.detach())


class FlowCorrection(nn.Module):
    """A correction of the flow, in pixels; zero until it is trained. [N, 8, H, W], as `compared` -> [N, 2, H, W]

    It takes the place of training the flow network with the rest. It works at a quarter of the size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = convs_with_relu(8, width, 2)
        self.tail = at_zero(nn.Conv2d(width, 2, 3, padding=1))
        he_start(self.body)

    def forward(self, planes: Tensor) -> Tensor:
        size = planes.shape[2:]
        coarse = F.interpolate(planes, size=[-(-side // COARSE) for side in size], mode="area")
        said = OF_FLOW * COARSE * self.tail(self.body(coarse)).float()
        return F.interpolate(said, size=size, mode="bilinear", align_corners=False)


def compared(frames: Tensor, flow: Tensor) -> Tensor:
    """Planes that show whether the flow is right, for both frames of a pair.

    frames   [2, N, 3, H, W]
    flow     [2, N, 2, H, W], from each frame to the other, in pixels
    out      [2N, 8, H, W]: the frame, how it differs from the other one sampled along the flow, and the flow
    """
    other, own = sampled(frames.flip(0), flow.flatten(0, 1)), frames.flatten(0, 1)
    return torch.cat([own - 0.5, other - own, flow.flatten(0, 1) / FLOW_UNIT], dim=1)


def projected(motion: Tensor, time: float, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The flow from the new frame to both frames of the pair, by `flow_projection`.

    For other times than 1/2, the one in MEMC-Net, the motion is scaled by the time since the frame.

    motion   [2, N, 4, H, W], as `FlowBlend.before_bands` gives it
    time     in (0, 1)
    weight   [2, N, 1, H, W], of each pixel of the two frames; None: all equal
    out      [2N, 2, H, W] in pixels, and [2N, 1, H, W], whether anything landed there
    """
    elapsed = motion.new_tensor([time, 1 - time]).view(2, 1, 1, 1, 1)
    way = elapsed * motion[:, :, :2] - elapsed * (1 - elapsed) / 2 * motion[:, :, 2:]
    return flow_projection(way.flatten(0, 1), None if weight is None else weight.flatten(0, 1))


def lying(frames: Tensor, flow: Tensor, filled: Tensor, plain: Tensor | None = None) -> Tensor:
    """The frames of a pair as they lie in the new frame, whether they are known there, and how far they were carried.

    frames  [2, N, 3, H, W]
    flow    [2N, 2, H, W], from the new frame, in pixels; what is estimated from the planes does not train it
    filled  [2N, 1, H, W]
    plain   [N, 3, H, W], flow-blend's frame, or None
    out     [N, 10, H, W]; with `plain`, its `differences` after them
    """
    shown = sampled(frames, flow.detach()) - 0.5
    far = flow.detach().square().sum(1, keepdim=True).sqrt().log1p()
    first, second = pair(shown)
    planes = [first, second, *pair(filled.to(shown.dtype)), *pair(far)]
    return torch.cat(planes if plain is None else [*planes, differences(first, second, plain - 0.5)], dim=1)


def differences(first: Tensor, second: Tensor, plain: Tensor) -> Tensor:
    """How the frames of a pair, as they lie in the new frame, differ from flow-blend's frame and from each other.

    first, second, plain   [N, 3, H, W]
    out                    [N, OF_DIFFERENCES, H, W]: the plain frame, the differences of both from it, and the mean
                           absolute difference of the two, in the pixel and around it; differences are CLEARER times as
                           large
    """
    apart_by = (first - second).abs().mean(1, keepdim=True)
    clearer = [CLEARER * each for each in (first - plain, second - plain, apart_by, box_mean(apart_by, AROUND))]
    return torch.cat((plain, *clearer), dim=1)


def sampled(frames: Tensor, flow: Tensor) -> Tensor:
    """Both frames sampled bilinearly along a flow. [2, N, 3, H, W], [2N, 2, H, W] in pixels -> [2N, 3, H, W]"""
    grid = pixel_grid(frames.shape[3], frames.shape[4], frames.device).to(frames.dtype)
    return sample(frames.flatten(0, 1), grid + flow)


def apart(stacked: Tensor) -> Tensor:
    """Frame 0 and frame 1 along an axis of their own. [2N, C, H, W] -> [2, N, C, H, W]"""
    return stacked.unflatten(0, (2, -1))


def pair(stacked: Tensor) -> list[Tensor]:
    """What belongs to frame 0 and to frame 1. [2N, C, H, W] -> [N, C, H, W] twice"""
    return list(stacked.chunk(2))


def bilinear_kernel(side: int, like: Tensor) -> Tensor:
    """The kernel by which `adaptive_warp` samples bilinearly. -> [1, side^2, 1, 1], dtype and device as `like`"""
    kernel = like.new_zeros(side, side)
    middle = slice(side // 2 - 1, side // 2 + 1)
    kernel[middle, middle] = 1
    return kernel.view(1, -1, 1, 1)


def weights_in_time(time: float, like: Tensor) -> Tensor:
    """1 - t and t, the weights of the two frames in a blend. -> [2, 1, 1, 1, 1], dtype and device as `like`"""
    return like.new_tensor([1 - time, time]).view(2, 1, 1, 1, 1)


def projected_blend(frames: Tensor, motion: Tensor, time: float) -> Tensor:
    """The mean, weighted by time, of both frames sampled bilinearly along the projected flow: the plain method.

    Arguments as for `ProjectedFlow.steps`. -> [N, 3, H, W]
    """
    flow, _ = projected(motion, time)
    return (weights_in_time(time, frames) * apart(sampled(frames, flow))).sum(0)
