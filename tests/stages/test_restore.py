from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from frames import YUV420, gray_frame, level, stream
from restorers import Double, Soften, Steady

from refilm.models import create_model
from refilm.stages.damage import CodingJudge, Damage, NoiseJudge
from refilm.stages.restore import Restore, change
from refilm.stages.running import Treatment
from refilm.stages.stage import StreamShape
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


def test_strength_takes_a_share_of_the_result_and_at_0_keeps_the_very_samples():
    frames = [noisy_frame(n) for n in range(3)]
    kept, half, whole = (
        run(Restore("denoise", Soften(), {"sigma_8bit": 255.0}, treat=Treatment(share)), frames)
        for share in (0.0, 0.5, 1.0)
    )
    for before, frame in zip(frames, kept, strict=True):
        assert frame.origin == "source"
        assert all((a == b).all() for a, b in zip(frame.planes, before.planes, strict=True))
    middle = (frames[1].planes[0].astype(float) + whole[1].planes[0]) / 2
    assert abs(half[1].planes[0] - middle).max() <= 1, "to rounding"


def test_the_model_is_not_run_where_nothing_is_to_be_done():
    class Fails(Soften):
        def forward(self, clip, sigma_8bit=None):
            raise AssertionError("was run")

    stage = Restore("denoise", Fails(), treat=Treatment(0.0))
    assert len(run(stage, stream(4))) == 4
    assert (stage.findings["denoise"].frames, stage.findings["denoise"].change) == (4, 0.0)


def test_clean_frames_are_left_alone_and_noise_is_told_to_the_model():
    told = []

    class Told(Soften):
        def forward(self, clip, sigma_8bit=None):
            told.append(sigma_8bit)
            return super().forward(clip, sigma_8bit)

    def film(sigma):
        generator = torch.Generator().manual_seed(1)
        slope = torch.linspace(0.2, 0.8, 96).expand(3, 80, 96)
        for number in range(5):
            noise = torch.randn(1, 80, 96, generator=generator).expand(3, -1, -1)  # on luma
            yield gray_frame(0, Fraction(number, 25), size=(80, 96)).with_rgb(slope + sigma / 255 * noise)

    clean = NoiseJudge()
    assert {frame.origin for frame in run(Restore("denoise", Told(), treat=clean), film(0.0))} == {"source"}
    assert clean.finding.means()["strength"] == 0
    assert told == []
    noisy = NoiseJudge()
    stage = Restore("denoise", Told(), treat=noisy)
    assert {frame.origin for frame in run(stage, film(10.0))} == {"restored"}
    assert noisy.finding.means()["strength"] == 1
    assert stage.findings["denoise strength"].means()["noise"] == pytest.approx(10, rel=0.15)
    assert told == pytest.approx([15.0] * 5, rel=0.15)


@pytest.mark.parametrize(("coding", "strength"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_damage_by_compression_decides_how_much_is_deblocked(coding, strength):
    judge = CodingJudge()
    assert judge.treatment([Damage(3.0, coding)] * 5).strength == strength
    assert judge.treatment([Damage(3.0, coding)] * 4 + [Damage(3.0, 0.9)]).strength == strength, "an odd one of five"


def test_a_smaller_factor_than_the_models_is_reached_by_a_reduction():
    y, x = torch.meshgrid(torch.linspace(0.2, 0.8, 20), torch.linspace(0.1, 0.9, 30), indexing="ij")
    frame = gray_frame(0, Fraction(0), size=(20, 30)).with_rgb(torch.stack([y, x, (x + y) / 2]))
    model = create_model("vsr-ls3d-small")
    stage = Restore("upscale", model, scale=3)
    shape = stage.shape(StreamShape(30, 20, Fraction(25), Fraction(1, 25), Fraction(0)))
    (result,) = run(stage, [frame])
    assert (result.width, result.height) == (shape.width, shape.height) == (90, 60)
    larger = torch.nn.functional.interpolate(frame.rgb[None], (60, 90), mode="bicubic", antialias=True)[0]
    assert (result.rgb - larger).abs()[:, 6:-6, 6:-6].max() < 0.02, "slopes stay where they are"
