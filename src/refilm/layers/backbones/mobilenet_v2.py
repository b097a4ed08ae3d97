"""MobileNetV2.

Source   Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv 1801.04381, Table 2.
"""

from __future__ import annotations

from refilm.layers.backbones.inverted_residual import InvertedResidualNet, Stage

STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class MobileNetV2(InvertedResidualNet):
    """Maps "0" to "18": "1" has stride 2, "3" 4, "6" 8, "13" 16, "18" 32 and 1280 channels."""

    def __init__(self, planes: int = 3) -> None:
        super().__init__(planes, STAGES)
