import pytest
import torch

from refilm.errors import VideoError
from refilm.video import frames, probe
from refilm.video.clip_writer import write_clip


def test_a_clip_has_its_pictures_and_says_what_their_colours_are(tmp_path):
    wanted = torch.tensor([[180, 60, 60], [60, 160, 90], [80, 80, 200]], dtype=torch.uint8)
    write_clip(tmp_path / "clip.part", [colour[:, None, None].expand(3, 64, 80) for colour in wanted], crf=10)
    info = probe(tmp_path / "clip.part")
    assert (info.codec, info.pix_fmt, info.width, info.height) == ("hevc", "yuv420p", 80, 64)
    assert (info.tags.matrix, info.tags.range) == (1, 1)
    found = torch.stack([frame.rgb.mean((1, 2)) * 255 for frame in frames(tmp_path / "clip.part")])
    torch.testing.assert_close(found, wanted.float(), rtol=0, atol=4)


@pytest.mark.parametrize("place", ["nowhere/clip.mp4", "full"])
def test_a_clip_that_cannot_be_written_is_told_in_a_line(place, tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")  # a full disk
    noise = torch.randint(0, 256, (10, 3, 128, 128), generator=torch.Generator().manual_seed(0)).byte()
    with pytest.raises(VideoError, match=rf"{place}: cannot be written: No (such|space)"):
        write_clip(tmp_path / place, list(noise), crf=0)
