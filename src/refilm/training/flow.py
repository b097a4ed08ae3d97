"""Training of optical flow: by what DIS says where it is consistent, and by how well a frame is warped to the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.data import Pack
from refilm.data.pack import spread
from refilm.evaluation.metrics import psnr_db
from refilm.layers.optical_flow import consistent, luma
from refilm.layers.sampling import pixel_grid, sample
from refilm.models.pwc_net import FINEST
from refilm.training.config import FlowConfig
from refilm.training.moving_pairs import TEACHER, Pairs, PairSampler
from refilm.training.problem import Problem

STRAY = 1.2  # pixels of a level


class Flow(Problem):
    """Trains on pairs of real frames, see `PairSampler`.

    A validation warps the second of two neighbouring frames to the first.
    """

    config: FlowConfig
    protocol = "each frame warped to the one before it, bilinear, luma PSNR in dB, a value a clip"
    plain = "DIS"

    def __init__(self, config: FlowConfig, train: Pack, val: Pack | None) -> None:
        super().__init__(config, val)
        self.sampler = PairSampler(train, config)

    def draw(self, step: int) -> Pairs:
        return self.sampler.draw(step)

    def loss(self, pairs: Pairs, step: int) -> Tensor:
        starts = self._starts(pairs, step) if step < self.config.led_until else ()
        levels = self.model.levels_both_ways(*pairs.luma, starts)
        taught = torch.stack([distance_on_level(flows, pairs) for flows in levels])
        # the coarse levels serve the finest ones
        weights = taught.new_tensor([0.2] * (len(taught) - 2) + [0.5, 1.0])
        warped = photometric(pairs.luma, levels[-1])
        loss = (weights * taught).sum() + self.config.photometric * warped
        loss = loss + self.config.smoothness * roughness(levels[-1], pairs.luma)
        with torch.no_grad():
            error = masked_mean((levels[-1] - pairs.flows).norm(dim=2, keepdim=True), pairs.known)
        self.log_dict({"loss": loss, "end_point_error": error, "photometric": warped}, prog_bar=True, batch_size=1)
        return loss

    def _starts(self, pairs: Pairs, step: int) -> list[Tensor]:
        """What is taught, plus smooth random errors of some STRAY pixels of each level. -> [2, N, 2, h, w] each"""
        random = torch.Generator().manual_seed(step)
        count, size = 2 * pairs.flows.shape[1], pairs.flows.shape[3]
        starts = []
        for level in reversed(range(self.model.config.levels)):
            factor = 2 ** (FINEST + level)
            side = size // factor
            errors = torch.randn(count, 2, 1, 1, generator=random) + torch.randn(count, 2, 3, 3, generator=random)
            errors = F.interpolate(STRAY * errors, (side, side), mode="bilinear").to(self.device)
            taught = F.avg_pool2d(pairs.flows.flatten(0, 1), factor) / factor
            starts.append((taught + errors).unflatten(0, (2, -1)))
        return starts

    def validate(self, model: torch.nn.Module, val: Pack, frames_a_clip: int) -> dict[str, list[float]]:
        figures: dict[str, list[float]] = {"psnr": [], "psnr_plain": []}
        for clip in val.frames:
            rows = []
            for place in spread(len(clip) - 1, frames_a_clip):
                planes = luma(clip[place : place + 2].float() / 255).to(self.device)[:, None]  # [2, 1, H, W]
                first, second = planes.float().div(255)[:, None]  # [1, 1, H, W] each
                classical = TEACHER.both_ways(planes[0], planes[1])[0]
                self.shown = tuple(
                    picture[0].expand(3, -1, -1).cpu()
                    for picture in (warped_by(second, classical), warped_by(second, model(first, second)), first)
                )
                rows.append((psnr_db(self.shown[1], self.shown[2]), psnr_db(self.shown[0], self.shown[2])))
            for name, column in zip(figures, zip(*rows, strict=True), strict=True):
                figures[name].append(sum(column) / len(column))
        return figures


def warped_by(second: Tensor, flow: Tensor) -> Tensor:
    """The second frame, backward-warped along the flow from the first to it. [N, C, H, W], [N, 2, H, W]"""
    return sample(second, pixel_grid(flow.shape[2], flow.shape[3], flow.device) + flow)


def distance_on_level(flows: Tensor, pairs: Pairs) -> Tensor:
    """The robust distance (d + 0.01)^q from what is taught, with q = 0.5; d is the end-point error in pixels.

    It weighs small errors more than the end-point error itself, as PWC-Net's robust loss (q = 0.4) does, since they
    decide how sharp a warped frame is.

    flows   [2, N, 2, h, w], of one level
    """
    factor = pairs.flows.shape[3] // flows.shape[3]
    known = F.avg_pool2d(pairs.known.flatten(0, 1), factor)
    taught = F.avg_pool2d((pairs.flows * pairs.known).flatten(0, 1), factor) / known.clamp(min=1e-6)
    distance = (flows.flatten(0, 1) - taught).norm(dim=1, keepdim=True)
    return masked_mean((distance + 0.01).sqrt(), known)


def photometric(frames: Tensor, flows: Tensor) -> Tensor:
    """The Charbonnier distance between frames and the other ones warped to them, where the flows are consistent.

    frames  [2, N, 1, S, S]   luma
    flows   [2, N, 2, S, S]
    """
    height, width = frames.shape[3:]
    place = pixel_grid(height, width, frames.device) + flows.flatten(0, 1)
    last = place.new_tensor([width - 1, height - 1]).view(1, 2, 1, 1)
    inside = ((place >= 0) & (place <= last)).all(1, keepdim=True)
    warped = sample(frames.flip(0).flatten(0, 1), place)
    with torch.no_grad():
        agree = torch.cat([consistent(flows[:, n]) for n in range(flows.shape[1])])
        agree = agree.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)
    return masked_mean(((warped - frames.flatten(0, 1)).square() + 1e-4).sqrt(), agree * inside)


def roughness(flows: Tensor, frames: Tensor) -> Tensor:
    """The mean size of a flow's differences between neighbouring pixels, where the frame has no edges.

    The weight falls with the strength of an edge, by exp(-20 |difference of luma|), as is usual where flow is learned
    without truth (Jonschkowski et al., 2020).
    """
    total = flows.new_zeros(())
    for axis in (3, 4):
        size = flows.shape[axis]
        steps = flows.narrow(axis, 1, size - 1) - flows.narrow(axis, 0, size - 1)
        edges = frames.narrow(axis, 1, size - 1) - frames.narrow(axis, 0, size - 1)
        total = total + ((steps.square() + 1e-4).sqrt() * (-20 * edges.abs()).exp()).mean()
    return total


def masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    """The mean weighted by `weights`, of the same shape; 0 if all are 0."""
    weights = weights.reshape(values.shape)
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
