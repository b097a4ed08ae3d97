from __future__ import annotations

import struct
from pathlib import Path

import pytest

from refilm.video.marks import movie_box, not_carried, stereo_mode


def configuration(*units):
    """HEVC's configuration record with parameter sets of these layers."""
    arrays = b"".join(struct.pack(">BHHHB", 0x20, 1, 3, 0x4000 | layer << 3 | 1, 0) for layer in units)
    return b"\x01" + bytes(21) + bytes([len(units)]) + arrays


@pytest.mark.parametrize(("layers", "told"), [((0, 0, 0), False), ((0, 0, 0, 1), True)])
def test_a_second_layer_of_hevc_is_found_in_its_parameter_sets(layers, told):
    whole = configuration(*layers)
    assert bool(not_carried({}, b"", whole, b"")) == told
    for length in range(len(whole) - 3):
        assert not_carried({}, b"", whole[:length], b"") == ()


@pytest.mark.parametrize(
    ("kind", "flags", "mode"), [(0, 0, None), (1, 0, "left_right"), (2, 1, "bottom_top"), (8, 0, "unknown")]
)
def test_ffmpegs_stereo_modes_have_matroskas_names(kind, flags, mode):
    assert stereo_mode({}, {"STEREO3D": struct.pack("=4i", kind, flags, 0, 0)}) == mode
    assert stereo_mode({"stereo_mode": "right_left"}, {}) == "right_left"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\0\0\0\x08free\0\0\0\x0cmoovSA3D", b"SA3D"),
        (b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x14datA\0\0\0\x15moovthe content..", b"the content.."),
        (b"\0\0\0\0mdat and the rest", b""),
        (b"\0\0\0\x04free\0\0\0\x0cmoovSA3D", b""),
        (b"\0\0", b""),
    ],
)
def test_the_movie_box_is_found_among_others(tmp_path, data, found):
    path = Path(tmp_path / "in.mp4")
    path.write_bytes(data)
    assert movie_box(path)[: len(found)] == found
    assert bool(movie_box(path)) == bool(found)
