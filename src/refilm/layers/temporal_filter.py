"""Motion-compensated temporal filtering of restored frames.

A network that restores frame by frame errs differently in each frame, which is seen as flicker. The filter averages
each result with its two neighbours, backward-warped to it along optical flow and weighted by how well they agree with
it. This reduces flicker and remaining noise. Video encoders and classical denoisers use such filters; the choices here,
and their measurements, are in docs/choices.md#temporal-filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import torch
from torch import Tensor, nn

from refilm.layers.bands import band_rows, fill_by_bands
from refilm.layers.optical_flow import DIS, LARGEST_AT_FULL_SIZE, MotionSource, RememberedFlows, luma
from refilm.layers.sampling import box_mean, pixel_grid, sample

# The weight of a neighbour, 1 for the frame itself, is halved where the flows to it and back disagree by
# DISAGREEMENT_PIXELS, and halved where its root mean square difference from the frame, over the channels and a square
# of SQUARE x SQUARE pixels, is DIFFERENCE.
DISAGREEMENT_PIXELS = 1.0
DIFFERENCE = 0.02
SQUARE = 5


class TemporalFilter(nn.Module):
    """Averages the middle one of three restored frames with the other two, along their motion. Has no parameters.

    source   of the motion. That by DIS is zero where a side is below 32 pixels
    """

    def __init__(self, source: MotionSource = DIS()) -> None:
        super().__init__()
        self._flows = RememberedFlows(source)

    def forward(self, before: Tensor, frame: Tensor, after: Tensor) -> Tensor:
        """Three consecutive restored frames, RGB in [0, 1] -> the filtered middle one, [N, 3, H, W] each.

        At cuts and ends, the middle frame may be given again in place of a missing neighbour. Raises ValueError for any
        other shape.
        """
        frames = before, frame, after
        if frame.ndim != 4 or frame.shape[1] != 3 or len({each.shape for each in frames}) > 1:
            shapes = ", ".join(str(list(each.shape)) for each in frames)
            raise ValueError(f"wanted three RGB frames of one size, [N, 3, H, W] each, got {shapes}")
        return self.in_bands(frames, self.before_bands(frames))

    def band_pixels(self, width: int) -> int:
        """Pixels of a band with its halo, for frames of this width."""
        return (band_rows(width) + SQUARE - 1) * width

    def remembered(self, height: int, width: int) -> float:
        """Bytes that are kept from one call to the next."""
        return self._flows.bytes_a_pixel * height * width / reduction(height, width) ** 2

    def before_bands(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """The flows between frames 0 and 1, and 1 and 2, of frames reduced by `reduction`: [2, N, 2, h, w] each."""
        planes = [reduced_luma(frame) for frame in frames]  # [N, h, w] each
        return [self._flows.between(*planes[t : t + 2]) for t in (0, 1)]

    def in_bands(self, frames: Sequence[Tensor], flows: Sequence[Tensor]) -> Tensor:
        """The result of `forward`, from that of `before_bands`."""
        before, after = flows
        # index of each neighbour, the flow from the middle frame to it, and the flow back
        motions = [(0, before[1], before[0]), (2, after[0], after[1])]
        filtered = torch.empty_like(frames[1])
        return fill_by_bands(filtered, lambda first, last: _rows(frames, motions, first, last), halo=SQUARE // 2)


def reduction(height: int, width: int) -> int:
    """How many times smaller, along each side, the frames are between which the flow is estimated: 1, 2, 4 ...

    At the full size of larger pictures, the flow would take most of the memory of a job.
    """
    factor = 1
    while height * width > LARGEST_AT_FULL_SIZE * factor**2:
        factor *= 2
    return factor


def reduced_luma(frame: Tensor) -> Tensor:
    """The luma of frames made smaller by `reduction`, sides rounded up. RGB [N, 3, H, W] -> [N, h, w], uint8"""
    height, width = frame.shape[2:]
    factor, rows = reduction(height, width), band_rows(width)
    planes = torch.cat([luma(frame[:, :, top : top + rows]) for top in range(0, height, rows)], dim=1)
    if factor == 1:
        return planes
    size = -(-width // factor), -(-height // factor)
    small = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes.cpu().numpy()]
    return torch.stack([torch.from_numpy(plane) for plane in small]).to(frame.device)


def _rows(frames: Sequence[Tensor], motions: list[tuple[int, Tensor, Tensor]], first: int, last: int) -> Tensor:
    """Rows `first` to `last` of the result, wrong in SQUARE // 2 rows at both ends. -> [N, 3, last - first, W]"""
    width = frames[1].shape[3]
    grid = pixel_grid(last - first, width, frames[1].device, top=first)
    centre = frames[1][:, :, first:last]
    total, weights = centre, torch.ones_like(centre[:, :1])
    for place, there, back in motions:
        there = there[:, :, first:last] if there.shape[3] == width else _enlarged(there, frames[1], grid)
        position = grid + there
        carried = sample(frames[place], position, ("bicubic",))
        disagreement = (there + _enlarged(back, frames[1], position)).square().sum(1, keepdim=True)
        difference = box_mean((carried - centre).square().mean(1, keepdim=True), SQUARE)
        weight = 1 / (1 + disagreement / DISAGREEMENT_PIXELS**2) / (1 + difference / DIFFERENCE**2)
        total, weights = total + weight * carried, weights + weight
    return total / weights


def _enlarged(flow: Tensor, frame: Tensor, position: Tensor) -> Tensor:
    """A flow between reduced frames, in pixels of the frames, at positions (x, y) in these.

    [N, 2, h, w], [N, 3, H, W], [N or 1, 2, rows, W] -> [N, 2, rows, W]
    """
    ratio = position.new_tensor([frame.shape[3] / flow.shape[3], frame.shape[2] / flow.shape[2]]).view(1, 2, 1, 1)
    return sample(flow, ((position + 0.5) / ratio - 0.5).expand(len(flow), -1, -1, -1)) * ratio
