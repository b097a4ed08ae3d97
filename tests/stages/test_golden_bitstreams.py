"""Files of learned codecs that were made once, in tests/golden: every machine reads the same numbers from them.

MODEL-qN.rfv   nine pictures, coded by the model at quality N, as `refilm encode` makes it
MODEL-qN.json  "latents": for each picture that the model coded, the CRC-32 of its latents: motion, z and y, each in the
               order of the tensor, as little-endian integers of 32 bits. "last": the codes of the last picture as the
               machine decoded it that made the file: RGB, base64 of zlib of bytes [3, H, W]

`pytest --accept-golden tests/stages/test_golden_bitstreams.py` makes them anew where they no longer hold, such as when
a codec ships with new weights: files name their weights and are decoded by no others.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

import refilm
from refilm.models import MODELS
from refilm.models.dvc import DVC, REPEATED
from refilm.stages.coded_pictures import CodedPictures
from refilm.video.clip_writer import write_clip
from refilm.video.coded_file import CodedFile

FOLDER = Path(__file__).parents[1] / "golden"
HEIGHT, WIDTH, PICTURES, GOP = 44, 70, 9, 5
SHIPPED = [name for name, row in MODELS.items() if row.task == "compression" and row.weights]
GOLDEN = [f"{name}-q{quality}" for name in SHIPPED for quality in (2, 7)]
# How near pictures come to those of another machine, on which floating point rounds differently in its last bit: that
# moves codes here and there by one, and what refers to them may add to it within a group of pictures.
FARTHEST, MEAN = 2, 0.02  # of 255


def film() -> list[torch.Tensor]:
    """Frames of waves that move over others, bytes [3, HEIGHT, WIDTH]; the last one is repeated."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (HEIGHT, WIDTH)), indexing="ij")
    frames = []
    for t in range(PICTURES - 1):
        fine = torch.sin(0.9 * (y - t) - 0.6 * (x - 1.5 * t))
        before = (torch.sin(0.3 * (x + 2 * t)) + torch.sin(0.25 * y) > 0.8).double()
        planes = [torch.sin(0.2 * (x - 1.5 * t) + 0.3 * (y - t) + phase) for phase in range(3)]
        frames.append(torch.stack([0.45 + 0.2 * plane + 0.1 * fine for plane in planes]).lerp(before[None] * 0.8, 0.4))
    return [frame.clamp(0, 1).mul(255).round().byte() for frame in [*frames, frames[-1]]]


def decoded(path: Path) -> tuple[list[int], np.ndarray]:
    """(checksums of the latents of each picture that the model coded, the codes of the last picture [3, H, W])"""
    file = CodedFile(path, on_packet=lambda: None)
    decoder = CodedPictures(file.stream, path)
    codec = cast(DVC, decoder._model)
    found = []
    for coded, _ in file.frames(None):
        if not coded.is_key and coded.data != bytes([REPEATED]):
            _, latents = codec.read(coded.data)
            found.append(zlib.crc32(b"".join(values.numpy().astype("<i4").tobytes() for values in latents)))
        decoder.planes(coded)
    return found, codec.decoded.mul(255).round().byte().numpy()


def kept(name: str) -> tuple[list[int], np.ndarray]:
    path = FOLDER / f"{name}.json"
    if not path.exists():
        pytest.fail(f"no golden bitstream {name}; make it with `pytest --accept-golden` and commit it alone")
    told = json.loads(path.read_text())
    codes = zlib.decompress(base64.b64decode(told["last"]))
    return told["latents"], np.frombuffer(codes, np.uint8).reshape(3, HEIGHT, WIDTH)


def holds(name: str) -> bool:
    try:
        checksums, last = decoded(FOLDER / f"{name}.rfv")
        return checksums == kept(name)[0] and is_near(last, kept(name)[1])
    except (OSError, refilm.RefilmError, pytest.fail.Exception):
        return False


def is_near(codes: np.ndarray, others: np.ndarray) -> bool:
    off = np.abs(codes.astype(int) - others)
    return bool(off.max() <= FARTHEST and off.mean() <= MEAN)


def make(name: str, folder: Path) -> None:
    """The film through the command, and what is read from it."""
    model, _, quality = name.rpartition("-q")
    write_clip(folder / "film.mp4", film(), crf=4)
    options = {"model": model, "quality": int(quality), "gop": GOP, "scene_cuts": False, "overwrite": True}
    refilm.encode(folder / "film.mp4", FOLDER / f"{name}.rfv", **options)
    (FOLDER / f"{name}.rfv.json").unlink(missing_ok=True)  # the report of the job
    checksums, last = decoded(FOLDER / f"{name}.rfv")
    codes = base64.b64encode(zlib.compress(last.tobytes(), 9)).decode()
    (FOLDER / f"{name}.json").write_text(json.dumps({"latents": checksums, "last": codes}, indent=1) + "\n")


@pytest.fixture(scope="module", autouse=True)
def accepted(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in GOLDEN if pytestconfig.getoption("accept_golden") else ():
        if not holds(name):
            make(name, tmp_path_factory.mktemp(name))


@pytest.fixture
def on_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("library", [True, False], ids=["oneDNN", "no oneDNN"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", GOLDEN)
def test_every_machine_reads_the_same_and_shows_nearly_the_same(name, threads, library, on_threads):
    """Whatever threads and libraries it computes with."""
    on_threads(threads)
    with torch.backends.mkldnn.flags(enabled=library):
        checksums, last = decoded(FOLDER / f"{name}.rfv")
    expected, codes = kept(name)
    assert len(checksums) > 4
    assert checksums == expected
    assert is_near(last, codes)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_file_is_small_and_a_picture_of_another_quality_is_not_near(name):
    assert (FOLDER / f"{name}.rfv").stat().st_size < 8000
    other = next(each for each in GOLDEN if each.startswith(name[:-2]) and each != name)
    assert not is_near(kept(name)[1], kept(other)[1])


def test_every_golden_bitstream_is_of_a_codec_that_ships():
    orphans = {path.name for suffix in ("rfv", "json") for path in FOLDER.glob(f"*.{suffix}")}
    orphans -= {f"{name}.{suffix}" for name in GOLDEN for suffix in ("rfv", "json")}
    assert not orphans, f"delete {', '.join(sorted(orphans))}: no codec of that name ships"
