"""flow-blend: interpolation by motion-compensated blending, without weights.

Source   the motion is DIS: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, arXiv 1603.03590,
         as implemented in OpenCV. Blending along it is the common practice of motion-compensated rate conversion;
         every choice below, and what it was measured against, is in docs/choices.md#flow-blend.

A new frame at time t is asked for its pixels, not painted with those of its neighbours, so it has no holes. Each frame
in turn is the origin: the pixel of it that reaches x at time t is the s with s + tau * flow(s) = x (tau = t from frame
0, 1 - t from frame 1), found by iteration. Along that motion both frames are sampled, on the line through x. The result
is the weighted mean of the four samples; the weights fall with distance in time, where a motion has no counterpart in
the opposite direction (occlusion), and outside the frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.optical_flow import estimate_flows


@dataclass(frozen=True)
class FlowBlendConfig:
    """Defaults: the best mean PSNR among those measured, docs/choices.md#flow-blend."""

    refinement: int = 10  # variational refinement steps of DIS on each scale
    finest_scale: int = 1  # the flow is found down to the frame halved so often; 0 takes three times as long
    inversion_steps: int = 1  # fixed-point steps that find where a pixel of the new frame comes from
    occlusion_pixels: float = 2.0  # disagreement of the two flows at which a motion loses half its vote
    occlusion_floor: float = 0.1  # share of its vote that an inconsistent motion keeps: a hedge, both may be wrong
    border_pixels: float = 8.0  # distance outside the frame at which a sample's vote falls to 1/e

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


class FlowBlend(nn.Module):
    """Blends two frames along their optical flow; has no parameters.

    The flow is computed on the CPU whatever the clip's device, and the result does not depend on the number of threads.
    Frames with a side below 32 pixels are too small for DIS and are blended without motion.
    """

    task = "interpolation"
    window = 2  # frames it wants: the two neighbours in time
    reach = None  # the flow is estimated coarse to fine over the whole frame: no tile gives the same result
    scale = 1  # output pixels per input pixel
    size_multiple = 1  # H and W may be anything
    supports_bfloat16 = False  # positions need more than 8 bits

    def __init__(self, config: FlowBlendConfig = FlowBlendConfig()) -> None:
        super().__init__()
        self.config = config

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; the outer two are the input, untouched."""
        middle = self.between(clip, (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)))
        return torch.cat((clip[:, :, :1], middle, clip[:, :, 1:]), dim=2)

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The frames at `times` between two neighbours; the motion is estimated once for all of them.

        clip    [N, 3, 2, H, W]   RGB, [0, 1]
        times   each in (0, 1): 0 is the first frame, 1 the second
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
        frames = clip.float().movedim(2, 0)  # [2, N, 3, H, W]
        flow = estimate_flows(frames, self.config.refinement, self.config.finest_scale).flatten(0, 1)  # [2N, 2, H, W]
        origin, target = frames.flatten(0, 1), frames.flip(0).flatten(0, 1)  # [2N, 3, H, W]
        for time in times:
            yield self._sampled(origin, target, flow, float(time), modes)

    def _sampled(self, origin: Tensor, target: Tensor, flow: Tensor, t: float, modes: Sequence[str]) -> Candidates:
        """[2N, 3, H, W] twice and their flow -> the candidates at time t."""
        pairs = origin.shape[0] // 2
        elapsed = torch.tensor([t] * pairs + [1 - t] * pairs, device=flow.device).view(-1, 1, 1, 1)
        opposite = flow.roll(pairs, dims=0)

        motion = motion_at(flow, elapsed, self.config.inversion_steps)  # [2N, 2, H, W]
        grid = pixel_grid(motion.shape[2], motion.shape[3], motion.device)
        # both positions lie on the line through x, so that each frame is sampled at x itself as t reaches it
        start, end = grid - elapsed * motion, grid + (1 - elapsed) * motion

        disagreement = (motion + sample(opposite, end)).square().sum(1, keepdim=True)
        consistency = 1 / (1 + disagreement / self.config.occlusion_pixels**2)
        floor = self.config.occlusion_floor
        trust = floor + (1 - floor) * consistency  # [2N, 1, H, W]
        at_start, from_start = trust * (1 - elapsed) * self._visibility(start), sample(origin, start, modes)
        at_end, from_end = trust * elapsed * self._visibility(end), sample(target, end, modes)
        pictures = (from_start[:pairs], from_end[:pairs], from_end[pairs:], from_start[pairs:])
        votes = (at_start[:pairs], at_end[:pairs], at_end[pairs:], at_start[pairs:])
        length = motion.square().sum(1, keepdim=True).sqrt()
        before, after = elapsed * length, (1 - elapsed) * length
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


def check_pair(clip: Tensor, times: Sequence[Fraction]) -> None:
    """Raises ValueError or TypeError unless there are two RGB frames in floating point, and times between them."""
    if clip.ndim != 5 or clip.shape[1:3] != (3, 2) or 0 in clip.shape:
        raise ValueError(f"clip must be [N, 3, 2, H, W] (two RGB frames), got {list(clip.shape)}")
    if not clip.is_floating_point():
        raise TypeError(f"clip must be floating point in [0, 1], got {clip.dtype}; divide by 255 first")
    outside = [t for t in times if not 0 < t < 1]
    if outside:
        raise ValueError(f"times must lie strictly between 0 and 1, got {', '.join(map(str, outside))}")


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """[1, 2, H, W]: the (x, y) of each pixel."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack((x, y))[None]


def sample(frame: Tensor, position: Tensor, modes: Sequence[str] = ("bilinear",)) -> Tensor:
    """[N, C, H, W] at (x, y) positions [N, 2, H, W] in pixels -> [N, C * modes, H, W]; the border repeats outside."""
    height, width = frame.shape[-2:]
    x = (2 * position[:, 0] + 1) / width - 1
    y = (2 * position[:, 1] + 1) / height - 1
    grid = torch.stack((x, y), -1)
    return torch.cat(
        [F.grid_sample(frame, grid, mode=mode, padding_mode="border", align_corners=False) for mode in modes], 1
    )


def motion_at(flow: Tensor, elapsed: Tensor, steps: int) -> Tensor:
    """The motion seen at the moment `elapsed`, pixel by pixel, from the flow of the frame it began in.

    flow      [N, 2, H, W]
    elapsed   [N, 1, 1, 1], in (0, 1)
    out       [N, 2, H, W]: flow(s) for the s with s + elapsed * flow(s) = x

    A fixed point, s <- x - elapsed * flow(s). Exact for a translation after one step; where two motions meet it settles
    on one of them, and both directions of flow are asked.
    """
    height, width = flow.shape[-2:]
    grid = pixel_grid(height, width, flow.device)
    motion = flow
    for _ in range(steps):
        motion = sample(flow, grid - elapsed * motion)
    return motion
