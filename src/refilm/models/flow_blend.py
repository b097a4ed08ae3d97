"""flow-blend: interpolation by motion-compensated blending, without weights.

Source   optical flow by DIS: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, arXiv
         1603.03590, as implemented in OpenCV. Acceleration: Xu et al., "Quadratic Video Interpolation", NeurIPS 2019,
         arXiv 1911.00627. Blending along motion is common practice in frame-rate conversion. The choices below and
         their measurements: docs/choices.md#flow-blend.

A new frame at time t is made by backward warping, not splatting, so it has no holes. Each of the two frames in turn is
the origin of the motion. The point of the origin that is at pixel x of the new frame at time t has the position s with

    s + tau * flow(s) - tau * (1 - tau) / 2 * acceleration(s) = x,    tau = t from frame 0, 1 - t from frame 1,

which is found by fixed-point iteration. The acceleration is estimated if there is a frame before or after the pair,
beyond the origin; else it is zero. The origin is sampled at s and the other frame at s + flow(s), which gives four
samples for each pixel x. The result is their weighted mean. A weight falls with the distance in time, where the flows
in both directions are not consistent (occlusion), and outside the frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refilm.layers.optical_flow import RememberedFlows, luma_8bit
from refilm.layers.sampling import box_mean, pixel_grid, sample
from refilm.models.contract import Interpolator

# Acceleration is not estimated if a frame repeats another, which makes motion look uneven: if the mean absolute
# difference within the pair, or between the frame beyond it and its neighbour, is at most this share of the other.
REPEATED = 0.2

# Mean weight of the acceleration in the square around a pixel at which the smoothed acceleration is halved.
BELIEVED = 0.05

QUARTERS = Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)


@dataclass(frozen=True)
class FlowBlendConfig:
    """Defaults: chosen by PSNR and time, docs/choices.md#flow-blend.

    refinement        variational refinement steps of DIS on each scale
    finest_scale      the flow is estimated down to frames halved this many times; 0 gains 0.1 dB and takes three times
                      as long
    inversion_steps   steps of the fixed-point iteration that finds where a pixel of the new frame comes from
    occlusion_pixels  consistency check: disagreement of the flows there and back, in pixels, at which consistency is
                      1/2
    occlusion_floor   lowest confidence in a motion, in (0, 1]; above 0 because both motions may be wrong
    border_pixels     distance outside the frame, in pixels, at which the weight of a sample falls to 1/e
    outer_pixels      disagreement of the flows to a frame beyond the pair and back, in pixels, at which the weight of
                      the acceleration is halved
    smoothing         side, in pixels, of the square over which acceleration is averaged, an odd number

    Raises ValueError for values outside these ranges.
    """

    refinement: int = 10
    finest_scale: int = 1
    inversion_steps: int = 1
    occlusion_pixels: float = 2.0
    occlusion_floor: float = 0.1
    border_pixels: float = 8.0
    outer_pixels: float = 4.0
    smoothing: int = 9

    def __post_init__(self) -> None:
        if self.refinement < 0 or self.finest_scale < 0 or self.inversion_steps < 1:
            raise ValueError(
                "refinement and finest_scale must be >= 0 and inversion_steps >= 1, got "
                f"{self.refinement}, {self.finest_scale} and {self.inversion_steps}"
            )
        if not (self.occlusion_pixels > 0 and self.border_pixels > 0 and 0 < self.occlusion_floor <= 1):
            raise ValueError(
                "occlusion_pixels and border_pixels must be > 0 and occlusion_floor in (0, 1], got "
                f"{self.occlusion_pixels}, {self.border_pixels} and {self.occlusion_floor}"
            )
        if not self.outer_pixels > 0 or self.smoothing < 1 or self.smoothing % 2 == 0:
            raise ValueError(
                f"outer_pixels must be > 0 and smoothing an odd number, got {self.outer_pixels} and {self.smoothing}"
            )


class Candidates(NamedTuple):
    """Four candidates for a new frame: frame 0 and frame 1, warped by the flow from 0 to 1, then by that from 1 to 0.

    pictures   [N, 3, 4, H, W], or 3 channels for each way of sampling
    votes      [N, 1, 4, H, W], the weights of the candidates: above 0, not normalised
    carried    [N, 1, 4, H, W], distance in pixels between a pixel and the position where the frame was sampled for it
    """

    pictures: Tensor
    votes: Tensor
    carried: Tensor


class FlowBlend(nn.Module, Interpolator):
    """Blends two frames along their optical flow; has no parameters.

    The flow is computed on the CPU whatever the clip's device, and the result does not depend on the number of threads.
    Frames with a side below 32 pixels are too small for DIS and are blended without motion.
    """

    task = "interpolation"
    window = 4  # the pair, one frame before and one after; `between` also takes the pair alone, without acceleration
    reach = None  # the flow is estimated coarse to fine over the whole frame: tiles would not give the same result
    size_multiple = 1  # H and W may be anything

    def __init__(self, config: FlowBlendConfig = FlowBlendConfig()) -> None:
        super().__init__()
        self.config = config
        self._flows = RememberedFlows(config.refinement, config.finest_scale)

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2 or 4, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; first and last are the pair itself."""
        return with_ends(clip, self.between(clip, QUARTERS))

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The frames at `times` between a pair of frames. The motion is estimated once for all times.

        clip    [N, 3, 2, H, W], the pair, RGB, [0, 1]; or [N, 3, 4, H, W], the pair with the frame before it and the
                one after it, at the same distance in time as within the pair. A frame of the pair repeated in their
                place means that there is none
        times   each in (0, 1): 0 is the first frame of the pair, 1 the second
        out     [N, 3, len(times), H, W], the clip's dtype, within the range of the clip's values

        Raises ValueError for other shapes and times, TypeError unless the clip is floating point.
        """
        check_pair(clip, times)
        if not times:
            return clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])
        between = [mixed(pictures, votes) for pictures, votes, _ in self.candidates(clip, times)]
        return torch.stack(between, dim=2).to(clip.dtype)

    def candidates(
        self, clip: Tensor, times: Sequence[Fraction], modes: Sequence[str] = ("bilinear",)
    ) -> Iterator[Candidates]:
        """The candidates for the new frame at each of `times`. `clip` and `times` as in `between`.

        modes  how frames are sampled, "bilinear" or "bicubic"; `pictures` has three channels for each
        """
        # both directions run as one batch: first all frames 0 with their flow to frames 1, then the reverse
        frames = pair_of(clip).float().movedim(2, 0)  # [2, N, 3, H, W]
        flow, acceleration = self._motion(clip.float())  # [2N, 2, H, W]
        origin, target = frames.flatten(0, 1), frames.flip(0).flatten(0, 1)  # [2N, 3, H, W]
        for time in times:
            yield self._sampled(origin, target, flow, acceleration, float(time), modes)

    def _motion(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The flow from each frame of the pair to the other, and the acceleration of that motion.

        [N, 3, 2 or 4, H, W] -> flow and acceleration, [2N, 2, H, W] each, in pixels and pixels per interval squared:
        first from frames 0 to 1, then from frames 1 to 0.
        """
        luma = luma_8bit(clip.transpose(1, 2))  # [N, T, H, W]
        flows = [self._flows.between(luma[:, t], luma[:, t + 1]).to(clip.device) for t in range(clip.shape[2] - 1)]
        flow = flows[len(flows) // 2].flatten(0, 1)
        if len(flows) == 1:
            return flow, torch.zeros_like(flow)
        before, _, after = flows
        beyond, back = torch.cat((before[1], after[0])), torch.cat((before[0], after[1]))
        grid = pixel_grid(flow.shape[2], flow.shape[3], flow.device)
        disagreement = _square(beyond + sample(back, grid + beyond))
        acceleration = flow + beyond
        # an acceleration much larger than the motion itself is implausible
        weight = 1 / (1 + disagreement / self.config.outer_pixels**2)
        weight = weight / (1 + _square(acceleration) / (1 + _square(flow))) * _told(clip).view(-1, 1, 1, 1)
        side = self.config.smoothing
        return flow, box_mean(acceleration * weight, side) / (box_mean(weight, side) + BELIEVED)

    def _sampled(
        self, origin: Tensor, target: Tensor, flow: Tensor, acceleration: Tensor, t: float, modes: Sequence[str]
    ) -> Candidates:
        """The candidates at time t, from [2N, 3, H, W] twice and the motion from `origin` to `target`."""
        pairs = origin.shape[0] // 2
        elapsed = torch.tensor([t] * pairs + [1 - t] * pairs, device=flow.device).view(-1, 1, 1, 1)
        opposite = flow.roll(pairs, dims=0)

        gone, motion = motion_at(flow, acceleration, elapsed, self.config.inversion_steps)  # [2N, 2, H, W]
        remaining = motion - gone
        grid = pixel_grid(motion.shape[2], motion.shape[3], motion.device)
        # Both positions lie on the motion through x, even if the iteration has not converged. The new frame therefore
        # tends to frame 0 as t tends to 0, and to frame 1 as t tends to 1.
        start, end = grid - gone, grid + remaining

        consistency = 1 / (1 + _square(motion + sample(opposite, end)) / self.config.occlusion_pixels**2)
        floor = self.config.occlusion_floor
        trust = floor + (1 - floor) * consistency  # [2N, 1, H, W]
        at_start, from_start = trust * (1 - elapsed) * self._visibility(start), sample(origin, start, modes)
        at_end, from_end = trust * elapsed * self._visibility(end), sample(target, end, modes)
        pictures = (from_start[:pairs], from_end[:pairs], from_end[pairs:], from_start[pairs:])
        votes = (at_start[:pairs], at_end[:pairs], at_end[pairs:], at_start[pairs:])
        before, after = _square(gone).sqrt(), _square(remaining).sqrt()
        carried = (before[:pairs], after[:pairs], after[pairs:], before[pairs:])
        return Candidates(*(torch.stack(planes, dim=2) for planes in (pictures, votes, carried)))

    def _visibility(self, position: Tensor) -> Tensor:
        """Weight of a sampling position: 1 inside the frame, falling outside, at least 0.001 so that no sum is 0.

        [N, 2, H, W], (x, y) in pixels -> [N, 1, H, W].
        """
        last = position.new_tensor([position.shape[3] - 1, position.shape[2] - 1]).view(1, 2, 1, 1)
        distance = (position - position.clamp(min=torch.zeros_like(last), max=last)).abs().sum(1, keepdim=True)
        return torch.exp(-distance / self.config.border_pixels).clamp(min=1e-3)


def mixed(pictures: Tensor, votes: Tensor) -> Tensor:
    """The mean of K candidates weighted by `votes`. [N, C, K, H, W], [N, 1, K, H, W] -> [N, C, H, W]"""
    return (pictures * votes).sum(2) / votes.sum(2)


def pair_of(clip: Tensor) -> Tensor:
    """The two frames in the middle of a clip. [N, 3, 2 or 4, H, W] -> [N, 3, 2, H, W]"""
    beyond = clip.shape[2] // 2 - 1
    return clip[:, :, beyond : beyond + 2]


def with_ends(clip: Tensor, middle: Tensor) -> Tensor:
    """The new frames of a clip between its pair. [N, 3, 2 or 4, H, W], [N, 3, K, H, W] -> [N, 3, K + 2, H, W]"""
    first, second = pair_of(clip).split(1, dim=2)
    return torch.cat((first, middle, second), dim=2)


def check_pair(clip: Tensor, times: Sequence[Fraction]) -> None:
    """Raises ValueError unless `clip` is [N, 3, 2 or 4, H, W] and times are in (0, 1); TypeError for integer clips."""
    if clip.ndim != 5 or clip.shape[1] != 3 or clip.shape[2] not in (2, 4) or 0 in clip.shape:
        raise ValueError(
            "clip must be [N, 3, 2, H, W], two RGB frames, or [N, 3, 4, H, W], these with a frame before and one "
            f"after, got {list(clip.shape)}"
        )
    if not clip.is_floating_point():
        raise TypeError(f"clip must be floating point in [0, 1], got {clip.dtype}; divide by 255 first")
    outside = [t for t in times if not 0 < t < 1]
    if outside:
        raise ValueError(f"times must lie strictly between 0 and 1, got {', '.join(map(str, outside))}")


def motion_at(flow: Tensor, acceleration: Tensor, elapsed: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The motion at each pixel x of the new frame, from the motion at each pixel s of the origin.

    flow           [N, 2, H, W]   displacement over the whole interval
    acceleration   [N, 2, H, W]   second difference of the position: the flow less the displacement over the interval
                                  before
    elapsed        [N, 1, 1, 1]   time since the origin, in (0, 1)
    steps          number of iterations
    out            [N, 2, H, W] twice   gone(s), the displacement so far, and flow(s), for the s with s + gone(s) = x,
                                        where gone = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration

    s is found by the fixed-point iteration s <- x - gone(s), which starts at x. It is exact for a translation after one
    step. Where two motions meet at x, it finds one of them.
    """
    height, width = flow.shape[-2:]
    grid = pixel_grid(height, width, flow.device)
    gone, motion = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration, flow
    ways = torch.cat((gone, motion), dim=1)
    for _ in range(steps):
        gone, motion = sample(ways, grid - gone).split(2, dim=1)
    return gone, motion


def _told(clip: Tensor) -> Tensor:
    """1 where acceleration can be estimated from the frame before the pair, then from the frame after it; else 0.

    [N, 3, 4, H, W] -> [2N]; see REPEATED.
    """
    before, between, after = clip.diff(dim=2).abs().mean((1, 3, 4)).unbind(1)
    outer, inner = torch.cat((before, after)), torch.cat((between, between))
    return (torch.minimum(outer, inner) > REPEATED * torch.maximum(outer, inner)).to(clip.dtype)


def _square(vectors: Tensor) -> Tensor:
    """The squared lengths of vectors. [N, 2, H, W] -> [N, 1, H, W]"""
    return vectors.square().sum(1, keepdim=True)
