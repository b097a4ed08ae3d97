from fractions import Fraction

import pytest
import torch
from clips import write_clip

from refilm.data.degradations import GAMMA
from refilm.data.layouts import Footage
from refilm.errors import VideoError
from refilm.evaluation.deblurring import COUNT, blurred_frames, exact_motion
from refilm.evaluation.evaluate import evaluate
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.stopwatch import Stopwatch
from refilm.models import create_model
from refilm.models.bin import HALF
from refilm.models.contract import Interpolator

BLURRED, EXACT = PROTOCOLS["deblurring-averaged"], PROTOCOLS["deblurring-exact"]


def test_the_truth_is_real_frames_in_the_middle_of_the_blurred_ones():
    levels = torch.arange(0, 26, 2, dtype=torch.uint8) * 10
    frames = levels.view(13, 1, 1, 1).expand(13, 3, 36, 36)
    blurry, sharp = blurred_frames(frames)
    assert blurry.shape == (3, 3, 12, 12)
    assert (sharp[0, :, 0, 0] * 255).tolist() == pytest.approx([40, 80, 120, 160, 200], abs=0.01)
    light = (levels.float() / 255) ** GAMMA
    for number, middle in enumerate((2, 6, 10)):
        expected = light[middle - 1 : middle + 2].mean() ** (1 / GAMMA)
        assert float(blurry[0, number, 0, 0]) == pytest.approx(float(expected), abs=0.5 / 255 + 1e-6)


def test_exact_motion_depends_on_the_seed_alone_and_fits_its_truth():
    frames = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 128, 160), 5, 1, 2).mul(255).byte()
    blurry, sharp = exact_motion(frames, torch.Generator().manual_seed(2))
    assert blurry.shape == (3, COUNT, 48, 60)
    assert sharp.shape == (3, 2 * COUNT - 1, 48, 60)
    assert torch.equal(blurry, exact_motion(frames, torch.Generator().manual_seed(2))[0])
    own, beside = sharp[:, 2:-2:2], sharp[:, 3:-1:2]
    assert 0 < (blurry[:, 1:-1] - own).square().mean() < (blurry[:, 1:-1] - beside).square().mean()


class Known(Interpolator):
    """Darkens new frames by 0.05, and those it redraws by 0.1."""

    task, window, reach, redraws_inputs, instants = "deblurring", 2, 0, True, (HALF,)

    def between(self, clip, times):
        first, second = clip.unbind(2)
        made = {0: first - 0.1, HALF: (first + second) / 2 - 0.05, 1: second - 0.1}
        return torch.stack([made[time] for time in times], dim=2)


@pytest.fixture
def clip(tmp_path):
    write_clip(tmp_path / "set" / "pan.mkv", count=13, height=66, width=96, speed=0)
    return Footage("pan.mkv", (tmp_path / "set" / "pan.mkv",))


def test_redrawn_and_new_frames_are_measured_apart(clip):
    found = BLURRED.measure(BLURRED.method(Known(), torch.device("cpu")), clip, Stopwatch())
    assert (found.frames, found.width, found.height) == (5, 32, 22)
    # of a clip that stands still, blurred frames are sharp up to 8 bit
    assert found.psnr_redrawn_db == pytest.approx(20.0, abs=0.2)
    assert found.psnr_new_db == pytest.approx(26.0, abs=0.3)
    assert found.psnr_db == pytest.approx((3 * found.psnr_redrawn_db + 2 * found.psnr_new_db) / 5)


def test_methods_that_do_not_redraw_leave_the_input(clip):
    device = torch.device("cpu")
    blend, _ = BLURRED.fitted("frame-blend", [clip])
    flow = BLURRED.method(create_model("flow-blend"), device)
    untrained = BLURRED.method(create_model("bin-small", weights=None).eval(), device)
    figures = [BLURRED.measure(method, clip, Stopwatch()) for method in (blend, flow, untrained)]
    assert len({round(figure.psnr_redrawn_db, 3) for figure in figures}) == 1


def test_a_clip_that_is_too_short_is_told(tmp_path):
    write_clip(tmp_path / "short.mkv", count=8)
    with pytest.raises(VideoError, match=r"short.mkv: at least 9 frames are wanted, got 8"):
        BLURRED.measure(lambda kept: iter(()), Footage("short.mkv", (tmp_path / "short.mkv",)), Stopwatch())


def test_a_model_is_measured_by_name_beside_the_baselines(tmp_path):
    write_clip(tmp_path / "set" / "pan.mkv", count=2, height=130, width=160)
    result = evaluate("flow-blend", tmp_path / "set", EXACT.name, tmp_path / "results")
    assert result.clips["pan.mkv"].frames == 2 * COUNT - 1
    table = (tmp_path / "results" / "set" / "deblurring.md").read_text()
    assert "PSNR of redrawn frames" in table
    assert "PSNR of new frames" in table
    assert all(name in table for name in ("flow-blend", "frame-blend", "frame-repeat"))


def test_a_model_of_the_middle_frame_alone_is_refused_by_protocols_of_others():
    model = create_model("bin-small", weights=None)
    with pytest.raises(ValueError, match="interpolation-x4 asks for frames at 1/4, 1/2, 3/4, and bin-small makes"):
        PROTOCOLS["interpolation-x4"].method(model, torch.device("cpu"))
    assert PROTOCOLS["interpolation-x2"].times == (Fraction(1, 2),)
