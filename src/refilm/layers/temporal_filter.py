"""Motion-compensated temporal filtering of restored frames.

Source   the practice of video encoders and of classical denoisers: each frame is averaged with its neighbours, carried
         to it along the motion, as far as they agree. What is restored frame by frame flickers; this takes the flicker
         and what is left of noise: docs/choices.md#temporal-filter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refilm.layers.optical_flow import RememberedFlows, luma_8bit
from refilm.layers.sampling import box_mean, pixel_grid, sample

# A neighbour counts half as much as the frame itself where the flows to it and back disagree by so many pixels, or
# where it looks different by so much (root of the mean square over the channels and a square of so many pixels a side).
DISAGREEMENT_PIXELS = 1.0
DIFFERENCE = 0.02
SQUARE = 5
BAND_PIXELS = 2**20  # filtered at a time, which bounds the memory


class TemporalFilter(nn.Module):
    """The middle one of three restored frames, averaged with the others. Has no parameters.

    The flow is computed on the CPU whatever the frames' device; where a side is below 32 pixels there is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._flows = RememberedFlows(refinement=5)

    def forward(self, frames: Tensor) -> Tensor:
        """[N, 3, 3, H, W], RGB, three frames of a film, restored; one may stand for a neighbour. -> [N, 3, H, W]"""
        if frames.ndim != 5 or frames.shape[1:3] != (3, 3):
            raise ValueError(f"frames must be [N, 3, 3, H, W], three RGB frames, got {list(frames.shape)}")
        luma = luma_8bit(frames.transpose(1, 2))  # [N, 3, H, W]
        before, after = (self._flows.between(luma[:, t], luma[:, t + 1]).to(frames.device) for t in (0, 1))
        # from the middle frame to each of the others, and back
        motions = [(0, before[1], before[0]), (2, after[0], after[1])]
        height, width = frames.shape[3:]
        grid = pixel_grid(height, width, frames.device)
        rows = max(BAND_PIXELS // width, 1)
        bands = [_band(frames, grid, motions, top, min(top + rows, height)) for top in range(0, height, rows)]
        return torch.cat(bands, dim=2)


def _band(frames: Tensor, grid: Tensor, motions: list[tuple[int, Tensor, Tensor]], top: int, bottom: int) -> Tensor:
    """Some rows of the result."""
    first, last = max(top - SQUARE // 2, 0), min(bottom + SQUARE // 2, frames.shape[3])
    centre = frames[:, :, 1, first:last]
    total, weights = centre, torch.ones_like(centre[:, :1])
    for place, there, back in motions:
        there = there[:, :, first:last]
        position = grid[:, :, first:last] + there
        carried = sample(frames[:, :, place], position, ("bicubic",))
        disagreement = (there + sample(back, position)).square().sum(1, keepdim=True)
        difference = box_mean((carried - centre).square().mean(1, keepdim=True), SQUARE)
        weight = 1 / (1 + disagreement / DISAGREEMENT_PIXELS**2) / (1 + difference / DIFFERENCE**2)
        total, weights = total + weight * carried, weights + weight
    return (total / weights)[:, :, top - first : bottom - first]
