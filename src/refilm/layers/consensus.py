"""From the features of segments to the scores of a clip."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN, PARTS = 96, 4  # of the ordered consensus: width of its convolutions, and parts of the clip that it tells apart
CLASSIFIER_STD = 1e-3  # standard deviation of a classifier's initial weights, as in TSN


class AverageConsensus(nn.Module):
    """A classifier for each segment, and the mean of its scores (TSN, section 3.1). [N, S, C] -> logits [N, K]

    dropout   share of the features that training sets to zero
    """

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier(channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.dropout(features))
        return scores.mean(dim=1)


class OrderedConsensus(nn.Module):
    """Two convolutions along the segments, and one classifier that knows at which part of the clip it looks.

    Not in TSN, whose average is the same for any order of the segments. The clip is cut into PARTS equal parts, over
    each of which the convolved features are averaged, so it takes any number of segments. [N, S, C] -> logits [N, K]
    """

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.reduce = nn.Linear(channels, HIDDEN)
        self.along = nn.ModuleList(nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1) for _ in range(2))
        self.classifier = classifier(PARTS * HIDDEN, classes)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.reduce(self.dropout(features))).transpose(1, 2)  # [N, HIDDEN, S]
        for conv in self.along:
            x = x + F.relu(conv(x))
        logits: Tensor = self.classifier(F.adaptive_avg_pool1d(x, PARTS).flatten(1))
        return logits


CONSENSUS = {"average": AverageConsensus, "ordered": OrderedConsensus}


def classifier(channels: int, classes: int) -> nn.Linear:
    """A linear classifier whose scores begin near zero."""
    layer = nn.Linear(channels, classes)
    nn.init.normal_(layer.weight, std=CLASSIFIER_STD)
    nn.init.zeros_(layer.bias)
    return layer
