"""Distances along a manifold of which only samples are known."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path
from torch import Tensor


def distances_along(samples: Tensor, neighbours: int) -> Tensor:
    """The lengths of the shortest chains of nearest neighbours, which stand for distances along the manifold.

    Source: Tenenbaum et al., "A Global Geometric Framework for Nonlinear Dimensionality Reduction" (Isomap), Science
    290, 2000.

    samples      [N, ...]
    neighbours   each sample is linked to so many nearest ones
    out          [N, N]   symmetric; infinite where no chain leads
    """
    flat = samples.flatten(1)
    count = min(neighbours, len(flat) - 1)
    far = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    places = far.topk(count, largest=False).indices.flatten()
    rows = np.repeat(np.arange(len(flat)), count)
    # by differences, since `cdist` is too coarse for samples that are close
    lengths = (flat[rows] - flat[places]).norm(dim=1).double().numpy()
    # 0 would be no link in a sparse matrix, and equal samples are linked
    links = csr_matrix((lengths.clip(1e-9), (rows, places.numpy())), shape=(len(flat), len(flat)))
    return torch.from_numpy(shortest_path(links, method="D", directed=False)).float()
