from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from toys.films import write_levels

from refilm.data.flips import Flips
from refilm.data.labelled_clips import Balanced, Looks, random_view, read_timed, recoloured
from refilm.data.layouts import Footage
from refilm.data.pack import rgb_u8
from refilm.errors import VideoError

PLAIN = Looks(area=(1.0, 1.0), aspect=1.0, colour=0.0, flips=())


def film(path: Path) -> Footage:
    return Footage(path.name, (path,))


def see(frame, rotation):
    return rgb_u8(frame)[:, ::2, ::2]


def test_frames_come_as_they_are_seen_with_their_times(tmp_path):
    clip = read_timed(film(write_levels(tmp_path / "a.mkv", range(40, 47))), see)
    assert clip.frames_u8.shape == (7, 3, 16, 24)
    assert clip.frames_u8.dtype == torch.uint8
    assert clip.times == tuple(Fraction(number, 25) for number in range(7))
    assert clip.seconds == Fraction(7, 25)
    assert (clip.frames_u8[1:, 0, 0, 0] > clip.frames_u8[:-1, 0, 0, 0]).all()


@pytest.mark.parametrize(("wanted", "kept"), [(25, 9), (13, 9), (Fraction(25, 2), 5), (8, 3), (5, 2)])
def test_of_a_film_at_a_multiple_of_the_rate_only_so_many_frames_are_kept(wanted, kept, tmp_path):
    clip = read_timed(film(write_levels(tmp_path / "a.mkv", [90] * 9)), see, rate=Fraction(wanted))
    assert len(clip.frames_u8) == kept
    assert clip.times[1] == Fraction(-(-9 // kept) if kept < 9 else 1, 25)


def test_pictures_are_a_clip_at_their_own_rate(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((16, 24, 3), 100, np.uint8))
    files = tuple(sorted(tmp_path.iterdir()))
    clip = read_timed(Footage("a", files, Fraction(12)), see)
    assert clip.seconds == Fraction(3, 12)
    assert clip.times == (0, Fraction(1, 12), Fraction(2, 12))
    cv2.imwrite(str(files[0]), np.full((8, 24, 3), 100, np.uint8))
    with pytest.raises(VideoError, match="its pictures differ in size"):
        read_timed(Footage("a", files), see)


def test_what_is_no_video_is_told(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"a\.mp4"):
        read_timed(film(tmp_path / "a.mp4"), see)


def clip_u8() -> torch.Tensor:
    return torch.randint(256, (4, 3, 12, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_plain_view_of_full_size_is_the_clip_itself():
    view, label = random_view(clip_u8(), "a", 12, 16, PLAIN, Flips(), torch.Generator())
    assert label == "a"
    torch.testing.assert_close(view, clip_u8().float().div(255).transpose(0, 1))


@pytest.mark.parametrize(("name", "axis"), [("mirror", 3), ("upside_down", 2), ("reversal", 1)])
def test_a_flip_changes_the_label_with_the_picture(name, axis):
    looks = Looks((1.0, 1.0), 1.0, 0.0, (name,))
    flips = Flips(**{name: {"left": "right", "right": "left"}})
    random, seen = torch.Generator().manual_seed(0), set()
    for _ in range(20):
        view, label = random_view(clip_u8(), "left", 12, 16, looks, flips, random)
        expected = clip_u8().float().div(255).transpose(0, 1)
        torch.testing.assert_close(view, expected.flip(axis) if label == "right" else expected)
        seen.add(label)
    assert seen == {"left", "right"}
    labels = {random_view(clip_u8(), "tick", 12, 16, looks, flips, random)[1] for _ in range(20)}
    assert labels == {"tick"}, "no counterpart, no flip"


def test_views_show_parts_of_the_frame_in_other_colours_within_range():
    looks = Looks((0.3, 0.6), 1.5, 0.5, ())
    view, _ = random_view(clip_u8(), "a", 10, 10, looks, Flips(), torch.Generator().manual_seed(1))
    assert view.shape == (3, 4, 10, 10)
    assert 0 <= view.min() <= view.max() <= 1
    again, _ = random_view(clip_u8(), "a", 10, 10, looks, Flips(), torch.Generator().manual_seed(1))
    assert torch.equal(view, again)


def test_colours_change_alike_in_all_frames_of_a_clip():
    still = torch.rand(1, 3, 4, 4).mul(0.5).add(0.25).expand(3, -1, -1, -1)
    other = recoloured(still, 0.2, torch.Generator().manual_seed(0))
    assert not torch.allclose(other, still)
    torch.testing.assert_close(other[0], other[2])


def test_all_classes_are_drawn_as_often_and_a_step_draws_the_same_again():
    draws = Balanced(["a"] * 90 + ["b"] * 10, seed=0)
    random = draws.generator(5)
    drawn = [draws.draw(random) for _ in range(2000)]
    assert 900 < sum(number >= 90 for number in drawn) < 1100
    assert set(drawn) == set(range(100))
    random = draws.generator(5)
    assert drawn[:50] == [draws.draw(random) for _ in range(50)]
    assert draws.draw(draws.generator(6)) != drawn[0] or draws.draw(draws.generator(7)) != drawn[0]


def test_the_frames_of_a_film_whose_clock_is_uneven_keep_their_times(tmp_path):
    path = tmp_path / "vfr.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in (0, 40, 200, 240):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32), 128, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert read_timed(film(path), see).times == tuple(Fraction(stamp, 1000) for stamp in (0, 40, 200, 240))
