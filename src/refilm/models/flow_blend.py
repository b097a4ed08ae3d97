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
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from refilm.layers.bands import band_rows, fill_by_bands
from refilm.layers.optical_flow import DIS, RememberedFlows, luma
from refilm.layers.overlays import find_overlays, without_overlays
from refilm.layers.repeating_patterns import with_shortest
from refilm.layers.sampling import box_mean, pixel_grid, sample
from refilm.models.contract import Interpolator, check_clip, check_times
from refilm.models.motion import motion_source
from refilm.ops import motion_blend

# Acceleration is not estimated if a frame repeats another, which makes motion look uneven: if the mean absolute
# difference of luma within the pair, or between the frame beyond it and its neighbour, is at most this share of the
# other.
REPEATED = 0.2

# Mean weight of the acceleration in the square around a pixel at which the smoothed acceleration is halved.
BELIEVED = 0.05

# Numbers of frames in a clip: the pair; or the pair, the frame before it and the one after it.
PAIRS = 2, 4

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
    motion            where the motion comes from, see `refilm.models.motion`; refinement and finest_scale are of DIS

    Raises ValueError for values outside these ranges.
    """

    refinement: int = 5
    finest_scale: int = 1
    inversion_steps: int = 1
    occlusion_pixels: float = 2.0
    occlusion_floor: float = 0.1
    border_pixels: float = 8.0
    outer_pixels: float = 4.0
    smoothing: int = 9
    motion: str = "dis"

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

    Flow by DIS is computed on the CPU whatever the clip's device, and the result does not depend on the number of
    threads. Frames with a side below 32 pixels are too small for DIS and are blended without motion.
    """

    task = "interpolation"
    window = 4  # the pair, one frame before and one after; `between` also takes the pair alone, without acceleration
    reach = None  # the flow is estimated coarse to fine over the whole frame: tiles would not give the same result
    size_multiple = 1  # H and W may be anything

    def __init__(self, config: FlowBlendConfig = FlowBlendConfig()) -> None:
        super().__init__()
        self.config = config
        dis = DIS(config.refinement, config.finest_scale, with_shortest)
        self._flows = RememberedFlows(motion_source(config.motion, dis), pairs=2)

    @property
    def remembered(self) -> float:
        return self._flows.bytes_a_pixel

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

        Raises as `check_clip` and `check_times`.
        """
        check_clip(self, clip, PAIRS)
        check_times(times)
        if not times:
            return clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])
        return self.in_bands(clip, self.before_bands(clip), times)

    def band_pixels(self, width: int) -> int:
        """See `Interpolator.band_pixels`."""
        return band_rows(width) * width

    def before_bands(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The motion of the pair, [2, N, 4, H, W], and if there are overlays, what `with_overlays` needs.

        The motion is first that from frame 0 to frame 1, then that from 1 to 0; channels: flow (2), in pixels, and
        acceleration (2), in pixels per interval squared. Then `place` and `visible` of `Overlays`, and the two frames
        without the overlays, [N, 3, H, W]. `clip` as in `between`.
        """
        length = clip.shape[2]
        planes = [luma(clip[:, :, t]) for t in range(length)]  # [N, H, W] each
        flows = [self._flows.between(*planes[t : t + 2]) for t in range(length - 1)]
        flow = flows[len(flows) // 2]
        on_cpu = [plane.cpu().numpy() for plane in planes]
        overlays = find_overlays(on_cpu, flow.cpu())
        if overlays is not None:
            flow = overlays.flow
        motion = torch.zeros(2, clip.shape[0], 4, *clip.shape[3:], device=clip.device)
        motion[:, :, :2] = flow
        if length == 4:
            before, after = flows[0], flows[2]
            outer = (before[1], before[0]), (after[0], after[1])  # from the pair to the frame beyond, and back
            for origin, ((beyond, back), told) in enumerate(zip(outer, _told(on_cpu), strict=True)):
                rows = partial(
                    self._acceleration, motion[origin, :, :2], beyond, back, told.view(-1, 1, 1, 1).to(clip.device)
                )
                # in eighths of a picture of any size, so that the memory is never that of this step
                eighth = -(-clip.shape[3] // 8)
                fill_by_bands(motion[origin, :, 2:], rows, halo=self.config.smoothing // 2, most=eighth)
        if overlays is None:
            return (motion,)
        place, visible = overlays.place.to(clip.device), overlays.visible.to(clip.device)
        behind = [without_overlays(frame.float(), visible) for frame in pair_of(clip).unbind(2)]
        return motion, place, visible, *behind

    def unlearned(self, clip: Tensor) -> Sequence[Tensor]:
        """See `Interpolator.unlearned`: the motion, unless a network estimates it, which is left to the GPU."""
        return self.before_bands(clip) if self.config.motion == "dis" else ()

    def in_bands(self, clip: Tensor, seen: Sequence[Tensor], times: Sequence[Fraction]) -> Tensor:
        """See `Interpolator.in_bands`."""
        exact = clip.float()

        def blended(time: Fraction, first: int, last: int) -> Tensor:
            if len(seen) == 1:
                return self._at_once(exact, seen[0], float(time), (first, last))
            pictures, votes, _ = self.candidates_of_rows(clip, seen, time, first, last)
            return with_overlays(mixed(pictures, votes), clip, seen, time, first, last)

        result = clip.new_empty(clip.shape[0], 3, len(times), *clip.shape[3:])
        for place, time in enumerate(times):
            fill_by_bands(result[:, :, place], partial(blended, time))
        return result

    def blended(self, frames: Tensor, motion: Tensor, time: float) -> Tensor:
        """The new frame at a time, [N, 3, H, W], of a pair [2, N, 3, H, W] with the motion that `before_bands` gives.

        Nothing is learned through it, and overlays are not looked for.
        """
        with torch.no_grad():
            return self._at_once(frames.transpose(0, 1).transpose(1, 2).float(), motion, time, (0, frames.shape[3]))

    def _at_once(self, clip: Tensor, motion: Tensor, time: float, rows: tuple[int, int]) -> Tensor:
        """Rows of the new frame: the candidates and their mean in one pass, in a quarter of the time."""
        config = self.config
        return motion_blend(
            motion,
            clip,
            time,
            config.inversion_steps,
            config.occlusion_pixels,
            config.occlusion_floor,
            config.border_pixels,
            rows,
        )

    def candidates(
        self, clip: Tensor, times: Sequence[Fraction], modes: Sequence[str] = ("bilinear",)
    ) -> Iterator[Candidates]:
        """The candidates for the new frame at each of `times`. `clip` and `times` as in `between`.

        modes  how frames are sampled, "bilinear" or "bicubic"; `pictures` has three channels for each
        """
        seen = self.before_bands(clip)
        for time in times:
            yield self.candidates_of_rows(clip, seen, time, 0, clip.shape[3], modes)

    def candidates_of_rows(
        self,
        clip: Tensor,
        seen: Sequence[Tensor],
        time: Fraction,
        first: int,
        last: int,
        modes: Sequence[str] = ("bilinear",),
    ) -> Candidates:
        """The candidates for rows `first` to `last` of the new frame at `time`, from what `before_bands` has seen."""
        motion, *overlays = seen
        frames = overlays[2:] or pair_of(clip).float().unbind(2)  # [N, 3, H, W] twice
        grid = pixel_grid(last - first, clip.shape[4], clip.device, top=first)
        floor = self.config.occlusion_floor
        candidates = []
        for origin, elapsed in ((0, float(time)), (1, 1 - float(time))):
            gone, flow = motion_at(motion[origin], elapsed, self.config.inversion_steps, first, last)
            remaining = flow - gone
            # Both positions lie on the motion through x, even if the iteration has not converged. The new frame
            # therefore tends to frame 0 as t tends to 0, and to frame 1 as t tends to 1.
            start, end = grid - gone, grid + remaining
            opposite = sample(motion[1 - origin, :, :2], end)
            consistency = 1 / (1 + _square(flow + opposite) / self.config.occlusion_pixels**2)
            trust = floor + (1 - floor) * consistency  # [N, 1, rows, W]
            for frame in (0, 1):
                position, way, weight = (start, gone, 1 - elapsed) if frame == origin else (end, remaining, elapsed)
                vote = trust * weight * self._visibility(position, clip.shape[3])
                if overlays:
                    vote = vote * sample(overlays[1], position).clamp(min=1e-3)
                candidates.append((sample(frames[frame], position, modes), vote, _square(way).sqrt()))
        return Candidates(*(torch.stack(planes, dim=2) for planes in zip(*candidates, strict=True)))

    def _acceleration(self, flow: Tensor, beyond: Tensor, back: Tensor, told: Tensor, first: int, last: int) -> Tensor:
        """Rows `first` to `last` of the acceleration, wrong in `smoothing` // 2 rows at both ends.

        flow            [N, 2, H, W], from a frame of the pair to the other
        beyond, back    [N, 2, H, W], from the same frame to the one beyond the pair, and back
        told            [N, 1, 1, 1], see `_told`
        """
        flow, beyond = flow[:, :, first:last], beyond[:, :, first:last]
        grid = pixel_grid(last - first, flow.shape[3], flow.device, top=first)
        disagreement = _square(sample(back, grid.add(beyond)).add_(beyond))
        acceleration = flow + beyond
        weight = disagreement.div_(self.config.outer_pixels**2).add_(1)
        # an acceleration much larger than the motion itself is implausible
        weight.mul_(_square(acceleration).div_(_square(flow).add_(1)).add_(1))
        weight = told / weight
        side = self.config.smoothing
        return box_mean(acceleration.mul_(weight), side).div_(box_mean(weight, side).add_(BELIEVED))

    def _visibility(self, position: Tensor, height: int) -> Tensor:
        """Weight of a sampling position: 1 inside the frame, falling outside, at least 0.001 so that no sum is 0.

        [N, 2, h, W], (x, y) in pixels, in a frame of W columns and `height` rows -> [N, 1, h, W].
        """
        last = position.new_tensor([position.shape[3] - 1, height - 1]).view(1, 2, 1, 1)
        distance = (position - position.clamp(min=torch.zeros_like(last), max=last)).abs().sum(1, keepdim=True)
        return torch.exp(-distance / self.config.border_pixels).clamp(min=1e-3)


def mixed(pictures: Tensor, votes: Tensor) -> Tensor:
    """The mean of K candidates weighted by `votes`. [N, C, K, H, W], [N, 1, K, H, W] -> [N, C, H, W]"""
    return (pictures * votes).sum(2) / votes.sum(2)


def with_overlays(frame: Tensor, clip: Tensor, seen: Sequence[Tensor], time: Fraction, first: int, last: int) -> Tensor:
    """Rows `first` to `last` of a new frame at `time`, [N, 3, last - first, W], with overlays as both frames have them.

    seen   what `FlowBlend.before_bands` has seen
    """
    if len(seen) == 1:
        return frame
    before, after = pair_of(clip)[:, :, :, first:last].unbind(2)
    return torch.where(seen[1][:, :, first:last] > 0, torch.lerp(before, after, float(time)), frame)


def pair_of(clip: Tensor) -> Tensor:
    """The two frames in the middle of a clip. [N, 3, 2 or 4, H, W] -> [N, 3, 2, H, W]"""
    beyond = clip.shape[2] // 2 - 1
    return clip[:, :, beyond : beyond + 2]


def with_ends(clip: Tensor, middle: Tensor) -> Tensor:
    """The new frames of a clip between its pair. [N, 3, 2 or 4, H, W], [N, 3, K, H, W] -> [N, 3, K + 2, H, W]"""
    first, second = pair_of(clip).split(1, dim=2)
    return torch.cat((first, middle, second), dim=2)


def motion_at(motion: Tensor, elapsed: float, steps: int, first: int, last: int) -> tuple[Tensor, Tensor]:
    """The motion at each pixel x in rows `first` to `last` of the new frame, from that at each pixel s of the origin.

    motion         [N, 4, H, W]   flow: displacement over the whole interval; acceleration: second difference of the
                                  position, the flow less the displacement over the interval before
    elapsed        time since the origin, in (0, 1)
    steps          number of iterations
    out            [N, 2, last - first, W] twice   gone(s), the displacement so far, and flow(s), for the s with
                                                   s + gone(s) = x, where
                                                   gone = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration

    s is found by the fixed-point iteration s <- x - gone(s), which starts at x. It is exact for a translation after one
    step. Where two motions meet at x, it finds one of them.
    """
    grid = pixel_grid(last - first, motion.shape[3], motion.device, top=first)
    found = motion[:, :, first:last]
    for step in range(steps + 1):
        flow, acceleration = found.split(2, dim=1)
        gone = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration
        if step < steps:
            found = sample(motion, grid - gone)
    return gone, flow


def _told(planes: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """1 where acceleration can be estimated from the frame before the pair, and from the frame after it; else 0.

    [N, H, W] uint8 of four frames -> [N] twice; see REPEATED.
    """
    before, between, after = (
        np.array([cv2.norm(*pair, cv2.NORM_L1) for pair in zip(a, b, strict=True)]) for a, b in pairwise(planes)
    )
    told = (np.minimum(outer, between) > REPEATED * np.maximum(outer, between) for outer in (before, after))
    first, second = (torch.from_numpy(which).float() for which in told)
    return first, second


def _square(vectors: Tensor) -> Tensor:
    """The squared lengths of vectors. [N, 2, H, W] -> [N, 1, H, W]"""
    x, y = vectors.split(1, dim=1)
    return (x * x).addcmul(y, y)
