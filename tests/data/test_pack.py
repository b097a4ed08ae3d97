import json

import av
import numpy as np
import pytest
import torch

from refilm.data import CropSampler, Motion, read_clip, read_index, read_packs
from refilm.errors import RefilmError


def write_clip(path, planes):
    """Lossless yuv420p, 48x32; one (Y, U, V) a frame, each a constant."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for y, u, v in planes:
            data = np.concatenate([np.full(48 * 32, y), np.full(24 * 16, u), np.full(24 * 16, v)]).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(data.reshape(48, 48), format="yuv420p")))
        container.mux(stream.encode())


@pytest.fixture
def pack(tmp_path):
    write_clip(tmp_path / "a.mkv", [(16 + 20 * i, 128, 128) for i in range(9)])
    entry = {"file": "a.mkv", "source": "s", "frames": 9, "width": 48, "height": 32, "motion": 3.0, "bytes": 1}
    (tmp_path / "index.json").write_text(json.dumps([entry]))
    return tmp_path


def test_colour_is_read_as_bt709_limited_range(tmp_path):
    # red, green, blue, white at full strength by ITU-R BT.709: Y = 16 + 219 * (0.2126, 0.7152, 0.0722, 1)
    write_clip(tmp_path / "c.mkv", [(63, 102, 240), (173, 42, 26), (32, 240, 118), (235, 128, 128)])
    expected = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    assert (read_clip(tmp_path / "c.mkv")[:, :, 16, 24].int() - expected).abs().max() <= 1


def test_a_pack_is_read_whole(pack):
    read = read_packs(pack, pack)
    assert len(read) == 2
    assert read.frames[0].shape == (9, 3, 32, 48)
    assert read.bytes == 2 * 9 * 3 * 32 * 48


def test_crops_hold_the_frames_between_the_inputs(pack):
    batch = CropSampler(read_packs(pack), 16, 4, seed=1).draw(7, [Motion(gap=4, shrink=2, weight=1)])
    assert batch.inputs.shape == (4, 3, 2, 16, 16)
    assert batch.targets.shape == (4, 3, 3, 16, 16)
    assert batch.places == (1, 2, 3)
    # brightness rises evenly, so the middle target is the blend
    torch.testing.assert_close(batch.targets[:, :, 1], batch.inputs.mean(dim=2), rtol=0, atol=0.01)


def test_crops_hold_the_frames_beyond_the_two_that_a_model_wants(pack):
    batch = CropSampler(read_packs(pack), 16, 40, seed=1, window=4).draw(7, [Motion(gap=2, shrink=1, weight=1)])
    assert batch.inputs.shape == (40, 3, 4, 16, 16)
    assert batch.targets.shape == (40, 3, 1, 16, 16)
    # brightness rises evenly
    torch.testing.assert_close(batch.targets[:, :, 0], batch.inputs[:, :, 1:3].mean(dim=2), rtol=0, atol=0.01)
    before, between, after = batch.inputs.diff(dim=2).mean((1, 3, 4)).unbind(1)
    for beyond in (before, after):  # the nearest frame stands in at the ends of the clip
        missing = beyond == 0
        assert 0 < missing.sum() < 40
        torch.testing.assert_close(beyond[~missing], between[~missing], rtol=0, atol=0.01)


def test_a_clip_of_three_frames_is_enough_whatever_a_model_wants(pack):
    packs = read_packs(pack)
    packs.frames[0] = packs.frames[0][:3]
    batch = CropSampler(packs, 16, 1, seed=1, window=4).draw(0, [Motion(gap=2, shrink=1, weight=1)])
    assert torch.equal(batch.inputs[:, :, [0, 3]], batch.inputs[:, :, [1, 2]])


def test_the_same_step_draws_the_same_batch(pack):
    kinds = [Motion(2, 1, 1.0), Motion(2, 2, 1.0)]
    one, two = (CropSampler(read_packs(pack), 16, 3, seed=5) for _ in range(2))
    one.draw(0, kinds)
    torch.testing.assert_close(one.draw(3, kinds).inputs, two.draw(3, kinds).inputs, rtol=0, atol=0)


def test_bad_packs_are_named(tmp_path, pack):
    with pytest.raises(RefilmError, match=r"no pack here, index.json is missing"):
        read_index(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no clip of the pack has 5 frames of 64x64"):
        CropSampler(read_packs(pack), 64, 1, 0).draw(0, [Motion(4, 1, 1.0)])
    (tmp_path / "t.mp4").write_text("text")
    with pytest.raises(RefilmError, match=r"t\.mp4: "):
        read_clip(tmp_path / "t.mp4")
    (tmp_path / "index.json").write_text('[{"file": "a"}]')
    with pytest.raises(RefilmError, match="missing 'source'"):
        read_index(tmp_path)
