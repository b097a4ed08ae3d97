"""VI-LS3D on motion: flow-blend, corrected by LS3D-Conv.

Beyond the paper. A classical flow carries both frames to the wanted time (`flow_blend.FlowBlend.candidates`);
LS3D-Conv samples around these places, so that its offsets begin at the motion instead of at zero; the network says
which candidate to trust, and what to add. It starts as flow-blend itself: docs/choices.md#vi-ls3d-flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refilm.layers.clips import unshuffle
from refilm.layers.residual import LS3DTrunk, check_trunk
from refilm.models.flow_blend import FlowBlend, check_pair, mixed

CANDIDATES = 4
WINDOW = CANDIDATES + 1  # the candidates, with their mean in the middle
SHUFFLE = 2  # the network works at half the size
STRONGEST = 6.0  # of a vote's correction, as a logarithm


@dataclass(frozen=True)
class VILS3DFlowConfig:
    """Defaults: a network that a laptop runs.

    channels     width of every hidden layer
    blocks       residual blocks; the first brings the candidates together, the others see their sum
    ls3d         whether the first one uses LS3D-Conv; otherwise its plain twin
    max_offset   positions (two pixels each) that offsets are cut to
    """

    channels: int = 48
    blocks: int = 6
    ls3d: bool = True
    max_offset: float = 4.0


class VILS3DFlow(nn.Module):
    """Frames at any time between two frames."""

    task = "interpolation"
    window = 2  # frames in
    reach = None  # the flow is estimated coarse to fine over the whole frame: no tile gives the same result
    scale = 1  # output pixels per input pixel
    size_multiple = SHUFFLE  # H and W must be multiples of this
    supports_bfloat16 = True

    def __init__(self, config: VILS3DFlowConfig = VILS3DFlowConfig()) -> None:
        super().__init__()
        self.config = config
        ls3d_blocks = (1,) if config.ls3d else ()
        check_trunk(WINDOW, config.blocks, ls3d_blocks, 1)
        # a picture and its vote, and how far the new frame is from the frame it comes from
        planes = (3 + 1) * SHUFFLE**2 + 1
        self.flow_blend = FlowBlend()
        self.trunk = LS3DTrunk(
            planes, config.channels, config.blocks, ls3d_blocks, WINDOW, 1, max_offset=config.max_offset
        )
        # a correction of each vote, and colour
        self.tail = nn.Conv2d(config.channels, (CANDIDATES + 3) * SHUFFLE**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; the outer two are the input, untouched."""
        middle = self.between(clip, (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)))
        return torch.cat((clip[:, :, :1], middle, clip[:, :, 1:]), dim=2)

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The frames at `times` between two neighbours; the motion is estimated once for all of them.

        clip    [N, 3, 2, H, W]   RGB, [0, 1]; H and W multiples of `size_multiple`
        times   each in (0, 1): 0 is the first frame, 1 the second
        out     [N, 3, len(times), H, W], not clamped
        """
        check_pair(clip, times)
        if clip.shape[3] % SHUFFLE or clip.shape[4] % SHUFFLE:
            raise ValueError(
                f"vi-ls3d-flow needs H and W to be multiples of {SHUFFLE}, got {clip.shape[3]} x {clip.shape[4]}; "
                "pad the clip first"
            )
        if not times:
            return clip.new_empty(clip.shape[0], 3, 0, *clip.shape[3:])
        candidates = self.flow_blend.candidates(clip, times)
        frames = [
            self.corrected(pictures, votes, float(time))
            for (pictures, votes), time in zip(candidates, times, strict=True)
        ]
        return torch.stack(frames, dim=2).to(clip.dtype)

    def corrected(self, pictures: Tensor, votes: Tensor, time: float) -> Tensor:
        """flow-blend's candidates, [N, 3, 4, H, W] and [N, 1, 4, H, W] -> [N, 3, H, W]"""
        votes = votes / votes.sum(2, keepdim=True)
        mean = mixed(pictures, votes)
        # frame 0 is sampled by the first and the third, frame 1 by the others; they lie on both sides of their mean
        before, after = [0, 2], [3, 1]
        planes = torch.cat([pictures - 0.5, votes], dim=1)  # [N, 4, 4, H, W]
        middle = torch.cat([mean - 0.5, torch.ones_like(mean[:, :1])], dim=1)[:, :, None]
        x = unshuffle(torch.cat([planes[:, :, before], middle, planes[:, :, after]], dim=2), SHUFFLE)
        away = x.new_tensor([time, time, 0, 1 - time, 1 - time]).view(1, 1, WINDOW, 1, 1)
        x = torch.cat([x, away.expand(x.shape[0], 1, WINDOW, *x.shape[3:])], dim=1)
        said = F.pixel_shuffle(self.tail(self.trunk(x)), SHUFFLE).float()
        correction = said[:, :CANDIDATES].clamp(-STRONGEST, STRONGEST).exp().unsqueeze(1)
        return mixed(pictures, votes * correction) + said[:, CANDIDATES:]
