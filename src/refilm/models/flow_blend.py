"""flow-blend: interpolation by motion-compensated blending, without weights.

Source   the motion is DIS: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, arXiv 1603.03590,
         as implemented in OpenCV. That it changes: Xu et al., "Quadratic Video Interpolation", NeurIPS 2019, arXiv
         1911.00627. Blending along motion is the common practice of motion-compensated rate conversion.
         Every choice below, and what it was measured against, is in docs/choices.md#flow-blend.

A new frame at time t is asked for its pixels, not painted with those of its neighbours, so it has no holes. Each frame
in turn is the origin: the pixel of it that reaches x at time t is the s with

    s + tau * flow(s) - tau * (1 - tau) / 2 * acceleration(s) = x,    tau = t from frame 0, 1 - t from frame 1,

found by iteration. The acceleration is known where there is a frame beyond the origin. At both ends of that motion the
frames are sampled. The result is the weighted mean of the four samples; the weights fall with distance in time, where a
motion has no counterpart in the opposite direction (occlusion), and outside the frame.
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

# A frame beyond the pair says nothing about its motion when it repeats its neighbour, or the pair does: when one of
# these differences is less than this share of the other.
REPEATED = 0.2

# Mean weight of the acceleration around a pixel at which half of it is believed.
BELIEVED = 0.05

QUARTERS = Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)


@dataclass(frozen=True)
class FlowBlendConfig:
    """Defaults: the best mean PSNR among those measured, docs/choices.md#flow-blend."""

    refinement: int = 10  # variational refinement steps of DIS on each scale
    finest_scale: int = 1  # the flow is found down to the frame halved so often; 0 takes three times as long
    inversion_steps: int = 1  # fixed-point steps that find where a pixel of the new frame comes from
    occlusion_pixels: float = 2.0  # disagreement of the two flows at which a motion loses half its vote
    occlusion_floor: float = 0.1  # share of its vote that an inconsistent motion keeps: a hedge, both may be wrong
    border_pixels: float = 8.0  # distance outside the frame at which a sample's vote falls to 1/e
    outer_pixels: float = 4.0  # disagreement of the flows to and from a frame beyond at which its word counts half
    smoothing: int = 9  # side of the square that acceleration is averaged over, an odd number

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
    """Four pictures of a new frame: frame 0 and frame 1 sampled along the motion from 0 to 1, then both along the
    motion from 1 to 0.

    pictures   [N, 3, 4, H, W], or three channels for each way of sampling
    votes      [N, 1, 4, H, W], above 0; their sum is anything
    carried    [N, 1, 4, H, W], how far a pixel has come from where it was, pixels
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
    window = 4  # frames it wants: the two neighbours in time, and one beyond each; without these motion is uniform
    reach = None  # the flow is estimated coarse to fine over the whole frame: no tile gives the same result
    size_multiple = 1  # H and W may be anything

    def __init__(self, config: FlowBlendConfig = FlowBlendConfig()) -> None:
        super().__init__()
        self.config = config
        self._flows = RememberedFlows(config.refinement, config.finest_scale)

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2 or 4, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; the outer two are the pair, untouched."""
        return with_ends(clip, self.between(clip, QUARTERS))

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The frames at `times` between two neighbours; the motion is estimated once for all of them.

        clip    [N, 3, 2, H, W]   RGB, [0, 1]; or [N, 3, 4, H, W], the pair with the frame before and the one after,
                                  as far away as the pair's are from each other; a repeated frame stands for none
        times   each in (0, 1): 0 is the first frame of the pair, 1 the second
        out     [N, 3, len(times), H, W], the clip's dtype; within the range of the clip
        """
        check_pair(clip, times)
        if not times:
            return clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])
        between = [mixed(pictures, votes) for pictures, votes, _ in self.candidates(clip, times)]
        return torch.stack(between, dim=2).to(clip.dtype)

    def candidates(
        self, clip: Tensor, times: Sequence[Fraction], modes: Sequence[str] = ("bilinear",)
    ) -> Iterator[Candidates]:
        """What a new frame may show, at each of `times`.

        modes  how frames are sampled, "bilinear" or "bicubic"; three channels of `pictures` for each
        """
        # both directions run as one batch: first all frames 0 with their flow to frames 1, then the reverse
        frames = pair_of(clip).float().movedim(2, 0)  # [2, N, 3, H, W]
        flow, acceleration = self._motion(clip.float())  # [2N, 2, H, W]
        origin, target = frames.flatten(0, 1), frames.flip(0).flatten(0, 1)  # [2N, 3, H, W]
        for time in times:
            yield self._sampled(origin, target, flow, acceleration, float(time), modes)

    def _motion(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The flow from each frame of the pair to the other, and how it changes in that time: [2N, 2, H, W] both."""
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
        # nothing real changes its motion by much more than the motion
        weight = 1 / (1 + disagreement / self.config.outer_pixels**2)
        weight = weight / (1 + _square(acceleration) / (1 + _square(flow))) * _told(clip).view(-1, 1, 1, 1)
        side = self.config.smoothing
        return flow, box_mean(acceleration * weight, side) / (box_mean(weight, side) + BELIEVED)

    def _sampled(
        self, origin: Tensor, target: Tensor, flow: Tensor, acceleration: Tensor, t: float, modes: Sequence[str]
    ) -> Candidates:
        """[2N, 3, H, W] twice and their motion -> the candidates at time t."""
        pairs = origin.shape[0] // 2
        elapsed = torch.tensor([t] * pairs + [1 - t] * pairs, device=flow.device).view(-1, 1, 1, 1)
        opposite = flow.roll(pairs, dims=0)

        gone, motion = motion_at(flow, acceleration, elapsed, self.config.inversion_steps)  # [2N, 2, H, W]
        remaining = motion - gone
        grid = pixel_grid(motion.shape[2], motion.shape[3], motion.device)
        # both positions lie on the way through x, so that each frame is sampled at x itself as t reaches it
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
        """[N, 2, H, W] -> [N, 1, H, W]: 1 inside the frame, falling outside, never 0 (somebody has to vote)."""
        last = position.new_tensor([position.shape[3] - 1, position.shape[2] - 1]).view(1, 2, 1, 1)
        distance = (position - position.clamp(min=torch.zeros_like(last), max=last)).abs().sum(1, keepdim=True)
        return torch.exp(-distance / self.config.border_pixels).clamp(min=1e-3)


def mixed(pictures: Tensor, votes: Tensor) -> Tensor:
    """The mean of candidates, weighed by their votes. [N, C, K, H, W], [N, 1, K, H, W] -> [N, C, H, W]"""
    return (pictures * votes).sum(2) / votes.sum(2)


def pair_of(clip: Tensor) -> Tensor:
    """The two frames that new ones lie between. [N, 3, 2 or 4, H, W] -> [N, 3, 2, H, W]"""
    beyond = clip.shape[2] // 2 - 1
    return clip[:, :, beyond : beyond + 2]


def with_ends(clip: Tensor, middle: Tensor) -> Tensor:
    """New frames between the pair of a clip that they were made from."""
    first, second = pair_of(clip).split(1, dim=2)
    return torch.cat((first, middle, second), dim=2)


def check_pair(clip: Tensor, times: Sequence[Fraction]) -> None:
    """Raises ValueError or TypeError unless there is a pair of RGB frames in floating point, and times between them."""
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
    """The motion seen at the moment `elapsed`, pixel by pixel, from the motion of the frame it began in.

    flow           [N, 2, H, W], the whole way
    acceleration   [N, 2, H, W], second difference of the place: the flow less the way of the interval before
    elapsed        [N, 1, 1, 1], in (0, 1)
    out            [N, 2, H, W] twice, the way gone so far and the whole: gone(s) and flow(s) for the s with
                   s + gone(s) = x, where gone = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration

    A fixed point, s <- x - gone(s). Exact for a translation after one step; where two motions meet it settles on one of
    them, and both directions of flow are asked.
    """
    height, width = flow.shape[-2:]
    grid = pixel_grid(height, width, flow.device)
    gone, motion = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration, flow
    ways = torch.cat((gone, motion), dim=1)
    for _ in range(steps):
        gone, motion = sample(ways, grid - gone).split(2, dim=1)
    return gone, motion


def _told(clip: Tensor) -> Tensor:
    """[N, 3, 4, H, W] -> [2N], 1 where the frame beyond frame 0, then beyond frame 1, tells of the pair's motion."""
    before, between, after = clip.diff(dim=2).abs().mean((1, 3, 4)).unbind(1)
    outer, inner = torch.cat((before, after)), torch.cat((between, between))
    return (torch.minimum(outer, inner) > REPEATED * torch.maximum(outer, inner)).to(clip.dtype)


def _square(vectors: Tensor) -> Tensor:
    """[N, 2, H, W] -> [N, 1, H, W], their lengths squared."""
    return vectors.square().sum(1, keepdim=True)
