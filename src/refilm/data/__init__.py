"""Data sets of clips, their degradation, and random crops for training."""

from refilm.data.crops import Batch, CropSampler, Draws, Motion, WindowSampler
from refilm.data.pack import Clip, Limits, Pack, read_clip, read_index, read_packs, read_split

__all__ = [
    "Batch",
    "Clip",
    "CropSampler",
    "Draws",
    "Limits",
    "Motion",
    "Pack",
    "WindowSampler",
    "read_clip",
    "read_index",
    "read_packs",
    "read_split",
]
