"""Overlays on scenes whose every moment is known."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from models.test_flow_blend import clip_of, panned, passing, psnr, texture

from refilm.layers.optical_flow import DIS, luma
from refilm.layers.overlays import Overlays, find_overlays
from refilm.models import create_model

HEIGHT, WIDTH = 192, 288
HALF = Fraction(1, 2)


def lettering() -> torch.Tensor:
    """[1, HEIGHT, WIDTH], 1 on the letters."""
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(drawn, "STAY HERE", (60, 110), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (1,), 2)
    return torch.from_numpy(drawn).float()[None]


def lettered(t: float, speed: tuple[float, float] = (16.0, 4.0)) -> torch.Tensor:
    """[3, HEIGHT, WIDTH]: white letters at rest before a pan."""
    return torch.where(lettering() > 0, 1.0, 0.8 * panned(t, speed, HEIGHT, WIDTH))


def film(scene, times=(-1, 0, 1, 2), **options) -> torch.Tensor:
    return torch.stack([scene(t, **options) for t in times], dim=1)[None]


def found_in(clip: torch.Tensor) -> Overlays | None:
    planes = [luma(frame) for frame in clip.unbind(2)]
    middle = len(planes) // 2
    flows = DIS(refinement=10).both_ways(planes[middle - 1], planes[middle])
    return find_overlays([plane.numpy() for plane in planes], flows)


@pytest.mark.parametrize("name", ["flow-blend", "vi-ls3d-flow"])
@pytest.mark.parametrize("speed", [(16.0, 4.0), (-11.0, 0.0)])
@torch.inference_mode()
def test_lettering_stays_as_it_is_over_a_fast_pan(name, speed):
    result = create_model(name).between(film(lettered, speed=speed), [HALF])[0, :, 0]
    letters = (lettering() > 0).expand(3, -1, -1)
    # all but a few pixels to which the pan has brought other letters both there and back
    assert ((result - 1)[letters].abs() > 1 / 255).float().mean() < 0.01
    # and the pan goes on behind them and between them; with letters that move along, it is 20 dB
    assert psnr(result, lettered(0.5, speed), border=24) > 26.5


def unrelated(t: float, letters: bool) -> torch.Tensor:
    """[3, HEIGHT, WIDTH]: another texture at each moment, as where motion is too fast to be followed."""
    behind = 0.4 * texture(HEIGHT, WIDTH, seed=int(t) + 10)[0]
    return torch.where(lettering() > 0, 0.2 * behind + 0.8, behind) if letters else behind


def test_lettering_is_found_where_the_motion_is_not_known():
    wrong = torch.full((2, 1, 2, HEIGHT, WIDTH), 20.0)
    planes = [luma(frame).numpy() for frame in film(unrelated, letters=True).unbind(2)]
    place = find_overlays(planes, wrong).place[0, 0].numpy()
    letters = lettering()[0].numpy()
    assert place[letters > 0].mean() > 0.8
    assert place[cv2.dilate(letters, np.ones((13, 13))) == 0].mean() < 0.01
    assert find_overlays([luma(frame).numpy() for frame in film(unrelated, letters=False).unbind(2)], wrong) is None


def test_what_lies_behind_has_its_own_motion():
    overlays = found_in(film(lettered))
    near = torch.from_numpy(cv2.dilate(overlays.place[0, 0].numpy(), np.ones((13, 13), np.uint8))) > 0
    motion = torch.tensor([-16.0, -4.0]).view(2, 1)
    error = (overlays.flow[0, 0][:, near] - motion).square().sum(0).sqrt()
    assert error.median() < 1


def test_a_pair_alone_shows_large_overlays():
    assert found_in(film(lettered, times=(0, 1))) is not None


@pytest.mark.parametrize(
    "clip",
    [
        film(panned, speed=(16.0, 4.0), height=HEIGHT, width=WIDTH),
        film(panned, speed=(1.0, 0.5), height=HEIGHT, width=WIDTH),
        film(passing),
        film(lettered, speed=(0.0, 0.0)),
        clip_of(passing),
        texture(HEIGHT, WIDTH)[:, :, None].repeat(1, 1, 4, 1, 1),
        torch.rand(1, 3, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["pan", "slow pan", "object before a background", "all at rest", "object, pair alone", "still", "noise"],
)
def test_nothing_is_found_where_nothing_is(clip):
    assert found_in(clip) is None


def test_lettering_of_one_clip_of_a_batch_is_its_own():
    plain = film(panned, speed=(16.0, 4.0), height=HEIGHT, width=WIDTH)
    overlays = found_in(torch.cat((plain, film(lettered))))
    assert overlays.place[0].sum() == 0
    assert overlays.place[1].sum() > 0.8 * (lettering() > 0).sum()
