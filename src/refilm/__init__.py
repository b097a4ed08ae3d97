"""refilm: make video better, and understand it.

refilm.interpolate("in.mp4", "out.mp4", times=4)      # file to file; returns a Report
refilm.enhance("in.mp4", "out.mp4", denoise=True, upscale=4)      # several tasks in one pass
refilm.open("in.mp4")                                 # iterates over Frames with exact times
refilm.create_model("flow-blend")                     # a model on tensors [N, C, T, H, W]
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from refilm.errors import JobError, RefilmError, VideoError, WeightsError

if TYPE_CHECKING:
    from refilm.api import deblock, denoise, enhance, interpolate, upscale
    from refilm.compare.comparison import compare
    from refilm.models import create_model, list_models
    from refilm.video import frames as open
    from refilm.video import probe

try:
    __version__ = version("refilm")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0"

__all__ = [
    "JobError",
    "RefilmError",
    "VideoError",
    "WeightsError",
    "__version__",
    "compare",
    "create_model",
    "deblock",
    "denoise",
    "enhance",
    "interpolate",
    "list_models",
    "open",
    "probe",
    "upscale",
]

# Imported on first use, because torch takes a second to load, and `refilm --help` does not need it.
_LAZY = {
    "create_model": ("refilm.models", "create_model"),
    "list_models": ("refilm.models", "list_models"),
    "compare": ("refilm.compare.comparison", "compare"),
    **{name: ("refilm.api", name) for name in ("deblock", "denoise", "enhance", "interpolate", "upscale")},
    "open": ("refilm.video", "frames"),
    "probe": ("refilm.video", "probe"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'refilm' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
