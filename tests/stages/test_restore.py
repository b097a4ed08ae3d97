from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from frames import YUV420, gray_frame, level, stream
from restorers import Double, Soften, Steady

from refilm.models import create_model
from refilm.stages.restore import Restore, change
from refilm.video import Colour, Frame


def noisy_frame(number: int, height: int = 45, width: int = 70) -> Frame:
    generator = torch.Generator().manual_seed(number)
    planes = tuple(
        torch.randint(30, 220, shape, generator=generator, dtype=torch.uint8).numpy()
        for shape in YUV420.plane_shapes(height, width)
    )
    return Frame(planes, YUV420, Colour(), Fraction(number, 25), Fraction(1, 25))


def run(stage, frames):
    results = [result for frame in frames for result in stage.push(frame)]
    return results + list(stage.flush())


@pytest.mark.parametrize("model", [Soften(), Steady(), Double()], ids=["soften", "steady", "double"])
@pytest.mark.parametrize("tile", [7, 16, 40])
def test_tiles_leave_no_seam_also_where_the_whole_picture_is_prepared(model, tile):
    frames = [noisy_frame(n) for n in range(4)]
    for whole, tiled in zip(run(Restore("x", model), frames), run(Restore("x", model, tile=tile), frames), strict=True):
        for plane, other in zip(whole.planes, tiled.planes, strict=True):
            assert abs(plane.astype(int) - other.astype(int)).max() <= 1, "to rounding"


@pytest.mark.parametrize("name", ["dncnn-off3-small", "vdn-ls3d-small", "vsr-ls3d-small"])
def test_tiles_leave_no_seam_in_the_models_that_ship(name):
    torch.manual_seed(0)
    model = create_model(name, weights=None).eval()
    for parameter in model.parameters():  # the last layers begin at zero, with which nothing could differ
        parameter.data += 0.02 * torch.randn_like(parameter)
    frames = [noisy_frame(n, 66, 150) for n in range(2)]
    whole, tiled = (run(Restore("x", model, tile=tile), frames)[1] for tile in (None, 48))
    assert whole.planes[0].std() > 1
    for plane, other in zip(whole.planes, tiled.planes, strict=True):
        assert abs(plane.astype(int) - other.astype(int)).max() <= 1, "to rounding"


def test_every_frame_is_restored_at_its_own_time():
    results = run(Restore("deblock", Steady()), stream(6))
    assert [frame.time for frame in results] == [Fraction(n, 25) for n in range(6)]
    assert {frame.origin for frame in results} == {"restored"}


def test_an_upscaled_frame_has_the_size_that_was_announced_and_its_colour():
    (frame,) = run(Restore("upscale", Double()), [gray_frame(90, Fraction(0), size=(9, 13))])
    assert (frame.width, frame.height, level(frame)) == (26, 18, 90)
    assert frame.planes[1].shape == (9, 13)
    assert frame.colour == gray_frame(90, Fraction(0)).colour


def test_the_options_reach_the_model():
    frames = [noisy_frame(n) for n in range(3)]
    untouched = run(Restore("denoise", Soften(), {"sigma_8bit": 0.0}), frames)
    assert all((a.planes[0] == b.planes[0]).all() for a, b in zip(untouched, frames, strict=True))
    assert (run(Restore("denoise", Soften(), {"sigma_8bit": 255.0}), frames)[1].planes[0] != frames[1].planes[0]).any()


def test_findings_say_how_much_was_changed():
    stage = Restore("denoise", Soften(), {"sigma_8bit": 255.0})
    run(stage, stream(4))
    # levels 40, 41, ... of 219 codes; the mean of three is off only at both ends, by a third of a step
    assert stage.findings["denoise"].frames == 4
    assert stage.findings["denoise"].change == pytest.approx(2 * 255 / 219 / 3, abs=1e-3)


def test_change_of_an_upscaled_picture_is_measured_at_the_size_it_had():
    y, x = torch.meshgrid(torch.linspace(0.2, 0.8, 24), torch.linspace(0.1, 0.9, 32), indexing="ij")
    picture = torch.stack([y, x, x * y])[None]
    larger = torch.nn.functional.interpolate(picture, scale_factor=4, mode="bicubic")
    assert change(picture, larger) < 0.2
    assert change(picture, larger + 10 / 255) == pytest.approx(10, abs=0.2)
