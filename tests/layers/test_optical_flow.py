import pytest
import torch
import torch.nn.functional as F

from refilm.layers.optical_flow import DIS, align_to_centre, consistent


def moving(dy, dx, frames=3, size=64):
    """A texture that moves by (dy, dx) pixels a frame. [1, 3, T, size, size]"""
    coarse = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    wide = F.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    return torch.stack(
        [wide[..., 40 + dy * t : 40 + dy * t + size, 40 + dx * t :][..., :size] for t in range(frames)], 2
    )


def test_frames_come_to_lie_on_the_middle_one():
    clip = moving(3, -2, frames=5)
    aligned = align_to_centre(clip)
    inside = (..., slice(12, -12), slice(12, -12))
    before = (clip - clip[:, :, 2:3])[inside].abs().mean()
    after = (aligned - clip[:, :, 2:3])[inside].abs().mean()
    assert after < 0.02 * before
    assert torch.equal(aligned[:, :, 2], clip[:, :, 2])


def test_noise_is_moved_as_it_is_and_does_not_lead_astray():
    clip = moving(2, 3)
    noisy = clip + 25 / 255 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))
    aligned = align_to_centre(noisy)
    # whole pixels: every value was there before
    assert torch.isin(aligned[0, 0, 0], noisy[0, 0, 0]).all()
    inside = (..., slice(8, -8), slice(8, -8))
    unaligned = (noisy[:, :, 0] - clip[:, :, 1])[inside].square().mean()
    assert (aligned[:, :, 0] - clip[:, :, 1])[inside].square().mean() < 0.5 * unaligned


def test_small_pictures_and_single_frames_stay_as_they_are():
    for clip in (torch.rand(1, 3, 3, 31, 40), torch.rand(1, 3, 1, 64, 64)):
        assert torch.equal(align_to_centre(clip), clip)


def test_flows_that_contradict_each_other_are_not_trusted():
    flows = torch.zeros(2, 2, 20, 30)
    flows[0, 0], flows[1, 0] = 3.0, -3.0
    assert consistent(flows).all()
    flows[1, 0, :, 15:] = 2.0
    assert not consistent(flows)[0, :, :, 13:].any()
    assert consistent(flows)[0, :, :, :11].all()


@pytest.mark.parametrize("threads", [1, 2])
def test_one_way_is_the_first_of_both_ways(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    first, second = (torch.rand(3, 48, 64).mul(255).byte() for _ in range(2))
    assert torch.equal(DIS().one_way(first, second), DIS().both_ways(first, second)[0])
    assert not DIS().one_way(first[:, :20], second[:, :20]).any(), "too small for DIS"
