"""Updating while encoding: the latents of a frame are changed so that they cost less, the decoder staying as it is.

Source   Lu et al., "Content Adaptive and Error Propagation Aware Deep Video Compression", ECCV 2020, arXiv 2003.11282,
         section 3.3, which updates the encoder's parameters for each frame.
Departs  updates the latents themselves, which is cheaper: no encoder runs in between. A step's cost is the very one
         that is paid, with rounded latents, so that the best one can be kept and a frame never gets worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from refilm.layers.entropy_models import SCALES, Bounded, bits_of, gaussian_probability, rounded

if TYPE_CHECKING:
    from refilm.models.dvc import DVC

RATE = 0.1  # learning rate of Adam, in steps of the quantiser
STEPS = {1: 4, 2: 10, 3: 30}  # by effort


class Start(NamedTuple):
    """Latents before they are rounded, times their gains: of the motion, and of the residual."""

    motion: Tensor
    y: Tensor


def updated(model: DVC, frame: Tensor, reference: Tensor, quality: int, effort: int, start: Start) -> Start:
    """Latents that cost less, in lambda * D + R, and are close to rounding already.

    frame, reference   [1, 3, H, W], H and W multiples of 16
    quality            1 ... `model.qualities`
    effort             a key of STEPS
    """
    rd_lambda = model.trade_off(quality)
    with torch.inference_mode(False), torch.enable_grad():
        q = torch.tensor([quality - 1], device=frame.device)
        frame, reference, motion, y = (tensor.clone() for tensor in (frame, reference, *start))
        latents = [motion.requires_grad_(), y.requires_grad_()]
        optimizer = torch.optim.Adam(latents, lr=RATE)
        best, least = start, float("inf")
        for step in range(STEPS[effort] + 1):
            _, prediction = model.prediction(model.decoded_motion(rounded(motion), q), reference)
            picture = model.completed(rounded(y), prediction, q)
            bits = model.bits_of_motion(rounded(motion), rounded(motion), q) + _bits_of_residual(model, y)
            cost = rd_lambda * (picture - frame).square().mean() + bits.sum() / frame[0, 0].numel()
            if (value := float(cost.detach())) < least:
                best, least = Start(motion.detach().clone(), y.detach().clone()), value
            if step < STEPS[effort]:
                for tensor, gradient in zip(latents, torch.autograd.grad(cost, latents), strict=True):
                    tensor.grad = gradient
                optimizer.step()
    return best


def _bits_of_residual(model: DVC, y: Tensor) -> Tensor:
    hyperprior = model.hyperprior
    z = rounded(hyperprior.analysed(y))
    index = Bounded.apply(hyperprior.h_s(z)[..., : y.shape[2], : y.shape[3]], 0.0, SCALES - 1.0)
    return bits_of(hyperprior.of_z.probability(z)) + bits_of(gaussian_probability(rounded(y), index))
