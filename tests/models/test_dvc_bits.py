"""What DVC writes, it reads: on any number of threads, by any library, and in another process."""

from __future__ import annotations

import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from refilm.models import create_model
from refilm.models.dvc import DVC, DVCConfig

SMALL = DVCConfig(
    channels=12,
    latents=16,
    motion="dis",
    motion_channels=12,
    motion_latents=12,
    motion_layers="gdn",
    motion_scale=2,
    motion_differences=2,
    compensation=8,
    shuffle=2,
    sees_motion=True,
)


def film(count=4, height=70, width=100):
    """Frames of smooth noise that moves by a pixel and a half a frame. -> [3, H, W] each, multiples of 1 / 255"""
    random = torch.Generator().manual_seed(3)
    noise = torch.nn.functional.interpolate(
        torch.rand(1, 3, 12, 20, generator=random), (height + 20, width + 20), mode="bicubic"
    )
    shifted = [torch.roll(noise, (n, 2 * n), (2, 3))[0, :, 5 : 5 + height, 5 : 5 + width] for n in range(count)]
    return [frame.clamp(0, 1).mul(255).round().div(255) for frame in shifted]


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(5)
    model = DVC(SMALL).eval()
    with torch.no_grad():  # so that side information says something
        for parameter in model.hyperprior.parameters():
            parameter.mul_(1.5)
    return model


def encoded(codec, frames, quality=6, effort=0):
    codec.reset()
    codec.refer_to(frames[0])
    return [codec.compress(frame, quality, effort) for frame in frames[1:]]


def decoded(codec, first, pictures):
    codec.reset()
    codec.refer_to(first)
    return [codec.decompress(data) for data in pictures]


@pytest.mark.parametrize("quality", [1, 4, 8])
@pytest.mark.parametrize("size", [(70, 100), (64, 96), (33, 17), (16, 16), (1, 1)])
def test_pictures_are_decoded_to_what_the_encoder_saw(codec, quality, size):
    frames = film(3, *size)
    codec.reset()
    codec.refer_to(frames[0])
    seen, data = [], []
    for frame in frames[1:]:
        data.append(codec.compress(frame, quality))
        seen.append(codec.decoded)
    for picture, expected in zip(decoded(codec, frames[0], data), seen, strict=True):
        assert torch.equal(picture, expected)
        assert picture.shape == frames[0].shape
        assert torch.equal(picture, picture.mul(255).round().div(255)), "rounded to codes"


@pytest.fixture
def on_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def latents_read(codec, first, data):
    """The whole numbers that a decoder reads of one picture."""
    codec.reset()
    codec.refer_to(first)
    return codec.read(data)[1]


def test_what_is_read_does_not_depend_on_threads_or_libraries(codec, on_threads):
    frames = film(2)
    (data,) = encoded(codec, frames)
    expected = latents_read(codec, frames[0], data)
    assert all(values.any() for values in expected)
    for threads in (1, 2, 5):
        on_threads(threads)
        for enabled in (True, False):
            with torch.backends.mkldnn.flags(enabled=enabled):
                for found, value in zip(latents_read(codec, frames[0], data), expected, strict=True):
                    assert torch.equal(found, value)
                other = encoded(codec, frames)[0]
                assert latents_read(codec, frames[0], other), "and the other way round"


_DECODES = """
import sys, zlib, torch
sys.path[:0] = {paths!r}
import test_dvc_bits as own
torch.set_num_threads(1)
torch.manual_seed(5)
codec = own.DVC(own.SMALL).eval()
codec.load_state_dict(torch.load({weights!r}, weights_only=True))
with torch.backends.mkldnn.flags(enabled=False):
    data = open({data!r}, "rb").read()
    latents = own.latents_read(codec, own.film(2)[0], data)
print(zlib.crc32(b"".join(values.int().numpy().tobytes() for values in latents)))
"""


def test_another_process_with_other_settings_reads_the_same(codec, tmp_path):
    frames = film(2)
    (data,) = encoded(codec, frames)
    (tmp_path / "data").write_bytes(data)
    torch.save(codec.state_dict(), tmp_path / "weights.pt")
    latents = latents_read(codec, frames[0], data)
    expected = zlib.crc32(b"".join(values.int().numpy().tobytes() for values in latents))
    folder = Path(__file__).parent
    code = _DECODES.format(
        paths=[str(folder), *sys.path], weights=str(tmp_path / "weights.pt"), data=str(tmp_path / "data")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(expected)], done.stderr


def test_updating_gives_what_any_decoder_reads_and_the_same_bytes_each_time(codec):
    frames = film(2)
    (data,) = encoded(codec, frames, 6, 1)
    seen = codec.decoded
    assert data != encoded(codec, frames, 6, 0)[0]
    assert torch.equal(decoded(codec, frames[0], [data])[0], seen)
    assert encoded(codec, frames, 6, 1) == [data]
    with torch.inference_mode():
        assert encoded(codec, [frame.clone() for frame in frames], 6, 1) == [data]


def test_a_picture_that_is_the_one_before_takes_a_byte(codec):
    first = film(1)[0]
    assert encoded(codec, [first, first, first], 6) == [b"\0", b"\0"]
    assert torch.equal(codec.decoded, first)
    assert torch.equal(decoded(codec, first, [b"\0"])[0], first)


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\x09abc"])
def test_what_cannot_be_a_picture_is_refused(codec, data):
    with pytest.raises(ValueError, match="qualit"):
        decoded(codec, film(1)[0], [data])


def test_damaged_bytes_end_in_some_picture_and_not_in_a_crash(codec):
    frames = film(2)
    (data,) = encoded(codec, frames)
    for place in range(1, len(data), max(1, len(data) // 40)):
        other = bytearray(data)
        other[place] ^= 0x55
        with suppress(ValueError):
            (picture,) = decoded(codec, frames[0], [bytes(other)])
            assert picture.isfinite().all()


def test_a_picture_to_refer_to_is_wanted(codec):
    codec.reset()
    with pytest.raises(ValueError, match="handed over by refer_to"):
        codec.compress(film(1)[0])
    codec.refer_to(film(1)[0])
    with pytest.raises(ValueError, match="and the one before"):
        codec.compress(film(1, 64, 64)[0])


def test_the_papers_size_writes_and_reads_as_well():
    torch.manual_seed(0)
    model = create_model("dvc", weights=None).eval()
    frames = film(2, 32, 48)
    data = encoded(model, frames)
    seen = model.decoded
    assert torch.equal(decoded(model, frames[0], data)[0], seen)
