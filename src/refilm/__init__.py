"""refilm: make video better, and understand it.

refilm.interpolate("in.mp4", "out.mp4", times=4)      # file to file; returns a Report
refilm.enhance("in.mp4", "out.mp4", denoise=True, upscale=4)      # several tasks in one pass
refilm.recognize("in.mp4")                            # what happens when: a list of Events
refilm.detect("in.mp4")                               # objects: yields the Detections of each frame
refilm.open("in.mp4")                                 # iterates over Frames with exact times
refilm.stream.denoise(pictures)                       # frames in, frames out: numpy or torch, [H, W, 3]
refilm.create_model("flow-blend")                     # a model on tensors [N, C, T, H, W]
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from refilm.errors import JobError, RefilmError, UsageError, VideoError, WeightsError

if TYPE_CHECKING:
    from refilm import models as models
    from refilm import ops as ops
    from refilm import stream as stream
    from refilm import video as video
    from refilm.api import (
        analyse,
        deblock,
        decode,
        denoise,
        encode,
        enhance,
        interpolate,
        morph,
        upscale,
    )
    from refilm.api import frames as open
    from refilm.comparison.comparison import compare
    from refilm.detection import detect, detections
    from refilm.export.hub import from_pretrained, push_to_hub
    from refilm.export.onnx import export_onnx
    from refilm.models import create_model, list_models
    from refilm.recognition import recognize, timeline
    from refilm.stages.detections import Box, Detections
    from refilm.stages.timeline import Event, Label
    from refilm.video import probe

    __version__: str

__all__ = [
    "Box",
    "Detections",
    "Event",
    "JobError",
    "Label",
    "RefilmError",
    "UsageError",
    "VideoError",
    "WeightsError",
    "__version__",
    "analyse",
    "compare",
    "create_model",
    "deblock",
    "deblur",
    "decode",
    "denoise",
    "detect",
    "detections",
    "encode",
    "enhance",
    "export_onnx",
    "from_pretrained",
    "interpolate",
    "list_models",
    "morph",
    "open",
    "probe",
    "push_to_hub",
    "recognize",
    "stream",
    "timeline",
    "upscale",
]

# Where the other names are. They are imported on first use, so that `import refilm` and `refilm --help` take no time.
_LAZY = {
    "create_model": ("refilm.models", "create_model"),
    "list_models": ("refilm.models", "list_models"),
    "compare": ("refilm.comparison.comparison", "compare"),
    **{name: ("refilm.api", name) for name in ("analyse", "deblock", "deblur", "denoise", "enhance")},
    **{name: ("refilm.api", name) for name in ("interpolate", "upscale")},
    **{name: ("refilm.recognition", name) for name in ("recognize", "timeline")},
    **{name: ("refilm.detection", name) for name in ("detect", "detections")},
    **{name: ("refilm.stages.detections", name) for name in ("Box", "Detections")},
    **{name: ("refilm.stages.timeline", name) for name in ("Event", "Label")},
    **{name: ("refilm.api", name) for name in ("decode", "encode", "morph")},
    **{name: ("refilm.export.hub", name) for name in ("from_pretrained", "push_to_hub")},
    "export_onnx": ("refilm.export.onnx", "export_onnx"),
    "open": ("refilm.api", "frames"),
    "probe": ("refilm.video", "probe"),
    **{name: (f"refilm.{name}", None) for name in ("models", "ops", "stream", "video")},
}

# The warnings of jobs and how their memory was planned; silent until a program sets up logging.
logging.getLogger("refilm").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _LAZY:
        raise AttributeError(f"module 'refilm' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    found = import_module(module)
    return found if attribute is None else getattr(found, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LAZY} - {"TYPE_CHECKING", "Any", "annotations", "import_module", "logging"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("refilm")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0"
