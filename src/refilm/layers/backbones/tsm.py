"""TSM: a backbone whose blocks see parts of the features of the frames before and after.

Source   Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019, arXiv 1811.08383. The
         shift stands within the residual branch (Fig. 3b), so that the features of the frame itself are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refilm.layers.backbones.backbone import Backbone, Temporal
from refilm.layers.backbones.inverted_residual import InvertedResidual
from refilm.layers.backbones.resnet import Bottleneck

FOLD = 8  # 1/FOLD of the channels come from the next frame, and as many from the one before


class TemporalShift(Temporal):
    """Moves the first 1/fold of the channels back by a frame, and the second forward. [N * length, C, H, W] -> same.

    What would come from beyond the ends of a clip is zero.
    """

    def __init__(self, fold: int = FOLD) -> None:
        super().__init__()
        self.fold = fold

    def forward(self, x: Tensor, length: int) -> Tensor:
        clips = x.unflatten(0, (-1, length))
        back, forth, still = clips.tensor_split((x.shape[1] // self.fold, 2 * (x.shape[1] // self.fold)), dim=2)
        back = torch.cat([back[:, 1:], torch.zeros_like(back[:, :1])], dim=1)
        forth = torch.cat([torch.zeros_like(forth[:, :1]), forth[:, :-1]], dim=1)
        return torch.cat([back, forth, still], dim=2).flatten(0, 1)


def shifting(backbone: Backbone) -> Backbone:
    """The same backbone with a shift in its residual blocks, as in the authors' program.

    These are all bottlenecks of a ResNet, and the inverted residual blocks that add their input.
    """
    for module in backbone.modules():
        if isinstance(module, Bottleneck) or (isinstance(module, InvertedResidual) and module.residual):
            module.before = TemporalShift()
    return backbone
