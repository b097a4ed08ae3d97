"""Motion that is projected to a new frame, on scenes whose motion is known at every pixel."""

from fractions import Fraction

import pytest
import torch
from layers.test_overlays import film, lettered, lettering

from refilm.layers.sampling import pixel_grid, sample
from refilm.models import create_model
from refilm.models.projected_flow import (
    FlowCorrection,
    bilinear_kernel,
    compared,
    lying,
    projected,
    projected_blend,
    weights_in_time,
)
from refilm.ops import adaptive_warp

HEIGHT, WIDTH, SIDE, STEP = 40, 72, 20, 16
TOP, LEFT = 10, 18


def noise(seed: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """[3, height, width] in [0, 1], smooth enough to be sampled between its pixels."""
    coarse = torch.rand(1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)[0]


def place_of_square(t: float) -> torch.Tensor:
    """[HEIGHT, WIDTH] bool: where the square is at time t."""
    square = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    left = LEFT + round(STEP * t)
    square[TOP : TOP + SIDE, left : left + SIDE] = True
    return square


def near_and_far(t: float) -> torch.Tensor:
    """[3, HEIGHT, WIDTH]: a light square that moves by STEP pixels to the right before a dark ground at rest."""
    frame = 0.4 * noise(1)
    frame[:, place_of_square(t)] = (0.5 + 0.5 * noise(2, SIDE, SIDE)).flatten(1)
    return frame


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """The two frames, [2, 1, 3, HEIGHT, WIDTH], and their exact motion, [2, 1, 4, HEIGHT, WIDTH]."""
    motion = torch.zeros(2, 1, 4, HEIGHT, WIDTH)
    motion[0, 0, 0, place_of_square(0)] = STEP
    motion[1, 0, 0, place_of_square(1)] = -STEP
    return torch.stack([near_and_far(0), near_and_far(1)])[:, None], motion


def nearness(of_square: float) -> torch.Tensor:
    """[2, 1, 1, HEIGHT, WIDTH]: 1 / depth in both frames, where that of the ground is 1."""
    return torch.stack([torch.where(place_of_square(t), of_square, 1.0) for t in (0, 1)])[:, None, None]


def test_a_pan_is_projected_to_its_share_of_the_time():
    motion = torch.zeros(2, 1, 4, 24, 32)
    motion[0, :, :2] = torch.tensor([8.0, -4.0]).view(2, 1, 1)
    motion[1, :, :2] = torch.tensor([-8.0, 4.0]).view(2, 1, 1)
    flow, filled = projected(motion, 0.25)
    # from the new frame back to frame 0 by a quarter of the way, and on to frame 1 by three quarters
    torch.testing.assert_close(flow[0], torch.tensor([-2.0, 1.0]).view(2, 1, 1).expand(2, 24, 32))
    # in the corner that nothing reaches along rows or columns, the flow is not known and zero
    torch.testing.assert_close(flow[1, :, 3:], torch.tensor([6.0, -3.0]).view(2, 1, 1).expand(2, 21, 32))
    assert filled[0, 0, :23, 2:].all()
    assert not filled[0, 0, :, :2].any(), "nothing comes from beyond the border"


def test_acceleration_bends_the_way():
    motion = torch.zeros(2, 1, 4, 24, 32)
    motion[:, :, 0], motion[:, :, 2] = 4.0, 2.0
    flow, _ = projected(motion, 0.25)
    for origin, elapsed in enumerate((0.25, 0.75)):
        way = elapsed * 4 - elapsed * (1 - elapsed) / 2 * 2
        torch.testing.assert_close(flow[origin, 0], torch.full((24, 32), -way))


def test_the_nearer_of_two_motions_that_meet_wins():
    _, motion = scene()
    front = place_of_square(0.5) & ~place_of_square(0)  # ground of frame 0 that the square has covered at t = 1/2
    front &= front.roll(1, 0) & front.roll(1, 1)  # a pixel also reaches those to its right and below it
    even, right, wrong = (projected(motion, 0.5, nearness(value))[0][0, 0][front] for value in (1.0, 1e3, 1e-3))
    torch.testing.assert_close(even, torch.full_like(even, -STEP / 4))  # the mean of both motions
    torch.testing.assert_close(right, torch.full_like(right, -STEP / 2), atol=0.02, rtol=0)
    assert wrong.abs().max() < 0.02


def test_with_the_right_order_the_square_is_drawn_whole():
    frames, motion = scene()
    truth, square = near_and_far(0.5), place_of_square(0.5)
    errors = []
    for value in (1.0, 1e3):
        flow, _ = projected(motion, 0.5, nearness(value))
        warped = sample(frames.flatten(0, 1), pixel_grid(HEIGHT, WIDTH, frames.device) + flow)
        errors.append((warped.mean(0) - truth)[:, square].square().mean())
    assert errors[1] < 1e-5
    assert errors[0] > 1e-3


def test_the_kernel_at_the_start_samples_bilinearly():
    frame, flow = noise(3)[None], 5 * torch.rand(1, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    expected = sample(frame, pixel_grid(HEIGHT, WIDTH, frame.device) + flow)
    for side in (2, 4, 6):
        kernel = bilinear_kernel(side, frame).expand(1, -1, HEIGHT, WIDTH)
        assert kernel.shape[1] == side**2
        torch.testing.assert_close(adaptive_warp(frame, flow, kernel), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("time", [0.01, 0.5, 0.99])
def test_weights_are_one_minus_t_and_t(time):
    weights = weights_in_time(time, torch.zeros(()))
    torch.testing.assert_close(weights.flatten(), torch.tensor([1 - time, time]))


def test_frames_agree_where_the_flow_is_right():
    frames, motion = scene()
    planes = compared(frames, motion[:, :, :2]).unflatten(0, (2, -1))
    assert planes.shape == (2, 1, 8, HEIGHT, WIDTH)
    difference = planes[:, 0, 3:6].abs().amax(1)
    covered = place_of_square(1) & ~place_of_square(0)
    assert difference[0][~covered].max() < 1e-4
    assert difference[0][covered].mean() > 0.1


def test_what_lies_in_the_new_frame_is_told_from_holes():
    frames, motion = scene()
    planes = lying(frames, *projected(motion, 0.5))
    assert planes.shape == (1, 10, HEIGHT, WIDTH)
    left_free = place_of_square(0) & ~place_of_square(0.5)
    # the pixels next to the square receive something from both sides
    assert (planes[0, 6][left_free] == 0).float().mean() > 0.8
    assert (planes[0, 7][left_free] == 1).all()


def test_a_correction_is_zero_until_it_is_trained_and_then_in_pixels():
    correction = FlowCorrection(8)
    planes = torch.rand(2, 8, 30, 41)
    assert not correction(planes).any()
    torch.nn.init.constant_(correction.tail.bias, 1.0)
    said = correction(planes)
    assert said.shape == (2, 2, 30, 41)
    assert said.min() > 0
    torch.testing.assert_close(said, said[:, :, :1, :1].expand_as(said))


def test_a_blend_along_projected_flow_is_the_same_backwards():
    frames, motion = scene()
    there, back = projected_blend(frames, motion, 0.25), projected_blend(frames.flip(0), motion.flip(0), 0.75)
    torch.testing.assert_close(there, back, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["memc-net-small", "dain-small"])
@torch.inference_mode()
def test_lettering_stays_as_it_is_over_a_fast_pan(name):
    result = create_model(name, weights=None).between(film(lettered), [Fraction(1, 2)])[0, :, 0]
    letters = (lettering() > 0).expand(3, -1, -1)
    assert ((result - 1)[letters].abs() > 1 / 255).float().mean() < 0.01
