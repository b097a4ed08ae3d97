"""The OFF unit: optical flow guided features of two frames, from any maps of a backbone.

Source   "Optical flow guided feature", Fig. 4, section 4.1.3; the operator itself is `refilm.ops.off`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from refilm.ops import off

# How many times the reduced channels a unit gives.
USES = {"off": 3, "temporal": 1, "hypercolumn": 1}


class OFFUnit(nn.Module):
    """A 1x1 convolution that reduces the features of each frame, and OFF between the two.

    channels   of the features
    reduced    channels after the convolution; 128 in the paper
    use        "off"; or for ablations "temporal", which leaves out the gradients in space, and "hypercolumn", which
               gives the reduced features of the earlier frame
    """

    def __init__(self, channels: int, reduced: int, use: Literal["off", "temporal", "hypercolumn"] = "off") -> None:
        super().__init__()
        self.use = use
        self.reduce = nn.Conv2d(channels, reduced, 1)

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return USES[self.use] * self.reduce.out_channels

    def between(self, earlier: Tensor, later: Tensor) -> Tensor:
        """From what `reduce` makes of two frames. [N, reduced, H, W] twice -> [N, channels, H, W]"""
        if self.use == "off":
            return off(earlier, later)
        return later - earlier if self.use == "temporal" else earlier

    def forward(self, earlier: Tensor, later: Tensor) -> Tensor:
        """The features of two frames, [N, C, H, W] twice -> [N, channels, H, W]"""
        return self.between(self.reduce(earlier), self.reduce(later))
