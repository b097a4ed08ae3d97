"""Motion-compensated temporal filtering of restored frames.

A network that restores frame by frame errs differently in each frame, which is seen as flicker. The filter averages
each result with its two neighbours, backward-warped to it along optical flow and weighted by how well they agree with
it. This reduces flicker and remaining noise. Video encoders and classical denoisers use such filters; the choices here,
and their measurements, are in docs/choices.md#temporal-filter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refilm.layers.optical_flow import RememberedFlows, luma_8bit
from refilm.layers.sampling import box_mean, pixel_grid, sample

# The weight of a neighbour, 1 for the frame itself, is halved where the flows to it and back disagree by
# DISAGREEMENT_PIXELS, and halved where its root mean square difference from the frame, over the channels and a square
# of SQUARE x SQUARE pixels, is DIFFERENCE.
DISAGREEMENT_PIXELS = 1.0
DIFFERENCE = 0.02
SQUARE = 5
BAND_PIXELS = 2**20  # pixels filtered at a time, which bounds the memory


class TemporalFilter(nn.Module):
    """Averages the middle one of three restored frames with the other two, along their motion. Has no parameters.

    The flow is computed on the CPU, whatever the frames' device. Where a side is below 32 pixels, it is zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self._flows = RememberedFlows(refinement=5)

    def forward(self, frames: Tensor) -> Tensor:
        """Three consecutive restored frames [N, 3, 3, H, W], RGB in [0, 1] -> the filtered middle one [N, 3, H, W].

        At cuts and ends, the middle frame may be given again in place of a missing neighbour. Raises ValueError for any
        other shape.
        """
        if frames.ndim != 5 or frames.shape[1:3] != (3, 3):
            raise ValueError(f"frames must be [N, 3, 3, H, W], three RGB frames, got {list(frames.shape)}")
        luma = luma_8bit(frames.transpose(1, 2))  # [N, 3, H, W]
        before, after = (self._flows.between(luma[:, t], luma[:, t + 1]).to(frames.device) for t in (0, 1))
        # index of each neighbour, the flow from the middle frame to it, and the flow back
        motions = [(0, before[1], before[0]), (2, after[0], after[1])]
        height, width = frames.shape[3:]
        grid = pixel_grid(height, width, frames.device)
        rows = max(BAND_PIXELS // width, 1)
        bands = [_band(frames, grid, motions, top, min(top + rows, height)) for top in range(0, height, rows)]
        return torch.cat(bands, dim=2)


def _band(frames: Tensor, grid: Tensor, motions: list[tuple[int, Tensor, Tensor]], top: int, bottom: int) -> Tensor:
    """Rows `top` to `bottom` of the result. -> [N, 3, bottom - top, W]"""
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
