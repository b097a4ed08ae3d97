import json

import av
import numpy as np
import pytest

RECIPE = """
model = "vi-ls3d-small"
train = ["pack"]
val = "pack"
config = { channels = 8, ls3d_blocks = [6] }
crop = 16
batch = 2
steps = 4
val_every = 2
val_frames = 1
[[motion]]
gap = 2
shrink = 1
weight = 1.0
"""


@pytest.fixture
def pack(tmp_path):
    """A pack of one clip of seven frames, noise that moves, at tmp_path / "pack"."""
    (tmp_path / "pack").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
    with av.open(str(tmp_path / "pack" / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(7):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[:, i : i + 48]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    entry = {"file": "a.mkv", "source": "s", "frames": 7, "width": 48, "height": 32, "motion": 3.0, "bytes": 1}
    (tmp_path / "pack" / "index.json").write_text(json.dumps([entry]))
    return tmp_path / "pack"


@pytest.fixture
def recipe(pack, tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path / "tiny.toml"
