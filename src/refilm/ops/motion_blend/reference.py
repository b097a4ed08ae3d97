"""Blending along motion in plain torch: the definition that the kernels are tested against."""

import torch
import torch.nn.functional as F
from torch import Tensor


def motion_blend(
    motion: Tensor,
    clip: Tensor,
    time: float,
    steps: int,
    occlusion: float,
    floor: float,
    border: float,
    top: int,
    bottom: int,
) -> Tensor:
    """`refilm.ops.motion_blend` of checked inputs, in plain torch."""
    height, width = clip.shape[3:]
    y, x = torch.meshgrid(
        torch.arange(top, bottom, dtype=motion.dtype, device=motion.device),
        torch.arange(width, dtype=motion.dtype, device=motion.device),
        indexing="ij",
    )
    here = torch.stack((x, y))[None]
    beyond = clip.shape[2] // 2 - 1
    frames = clip[:, :, beyond : beyond + 2].unbind(2)
    total, votes = torch.zeros(()), torch.zeros(())
    for origin, elapsed in ((0, time), (1, 1 - time)):
        found = motion[origin][:, :, top:bottom]
        for step in range(steps + 1):
            flow, acceleration = found.split(2, dim=1)
            gone = elapsed * flow - elapsed * (1 - elapsed) / 2 * acceleration
            if step < steps:
                found = _sample(motion[origin], here - gone)
        start, end = here - gone, here + (flow - gone)
        off = flow + _sample(motion[1 - origin, :, :2], end)
        consistency = 1 / (1 + off.square().sum(1, keepdim=True) / occlusion**2)
        trust = floor + (1 - floor) * consistency
        for frame, position, share in ((origin, start, 1 - elapsed), (1 - origin, end, elapsed)):
            vote = trust * share * _visibility(position, height, width, border)
            total = total + vote * _sample(frames[frame], position)
            votes = votes + vote
    return total / votes


def _sample(planes: Tensor, position: Tensor) -> Tensor:
    """Bilinear; positions outside read the border."""
    height, width = planes.shape[2:]
    grid = torch.stack([(2 * position[:, 0] + 1) / width - 1, (2 * position[:, 1] + 1) / height - 1], dim=-1)
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False)


def _visibility(position: Tensor, height: int, width: int, border: float) -> Tensor:
    last = position.new_tensor([width - 1, height - 1]).view(1, 2, 1, 1)
    outside = (position - position.clamp(min=torch.zeros_like(last), max=last)).abs().sum(1, keepdim=True)
    return torch.exp(-outside / border).clamp(min=1e-3)
