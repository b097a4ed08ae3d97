"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, and with ReLU6.

Source   Tan and Le, "EfficientNet", ICML 2019, arXiv 1905.11946, Table 1; "Lite" by the authors' program.
"""

from __future__ import annotations

from torch import nn

from refilm.layers.backbones.inverted_residual import InvertedResidualNet, Stage

STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 40, 2, 2, kernel=5),
    Stage(6, 80, 3, 2),
    Stage(6, 112, 3, 1, kernel=5),
    Stage(6, 192, 4, 2, kernel=5),
    Stage(6, 320, 1, 1),
)
EPSILON = 1e-3  # of batch normalisation, as the weights that were learned in TensorFlow need it


class EfficientNetLite0(InvertedResidualNet):
    """Maps "0" to "17": "1" has stride 2, "3" 4, "5" 8, "11" 16, "17" 32 and 1280 channels."""

    def __init__(self, planes: int = 3) -> None:
        super().__init__(planes, STAGES)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = EPSILON
