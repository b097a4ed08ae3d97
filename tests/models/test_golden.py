"""Whether anything moved: a small result of every model that runs as it ships, kept in tests/golden.

`pytest --accept-golden tests/models/test_golden.py` keeps what has moved, in a commit of its own.
"""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tolerance import GOLDEN_RMS

from refilm.models import MODELS, create_model
from refilm.models.flow_blend import FlowBlend, FlowBlendConfig
from refilm.tasks import TASKS

FOLDER = Path(__file__).parents[1] / "golden"
HEIGHT, WIDTH = 40, 56
TIMES = Fraction(1, 4), Fraction(1, 2)
RUNNABLE = [name for name, row in MODELS.items() if row.runs_as_shipped and TASKS[row.task].makes == "pictures"]
# The layer that is changed where the last one says little: in BIN, all but the first level, of pictures that are sharp.
CHANGED = dict.fromkeys(("bin-small", "bin-small-long"), "backbones.0.colour.weight")
LEARNED = [name for name in RUNNABLE if MODELS[name].learned]


def film(frames: int, speed: float, gain: float, left: int) -> torch.Tensor:
    """[1, 3, frames, HEIGHT, WIDTH]: waves that move right and down, and before them others that move left.

    Its values are 8-bit codes: sines that differ in their last digit make the same film.

    speed  of the waves behind in the first frame, pixels a frame
    gain   what each frame adds to it
    left   pixels that everything stands further left
    """
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (frames, HEIGHT, WIDTH)), indexing="ij")
    x = x + left
    behind_x, behind_y, before_x = x - speed * t - gain * t**2 / 2, y - t, x + (speed + 1) * t
    colours = []
    for phase in range(3):
        coarse = torch.sin(0.4 * behind_x + 0.3 * behind_y + phase)
        fine = torch.sin(0.9 * behind_y - 0.6 * behind_x + 2 * phase)
        before = torch.sin(0.5 * before_x - 0.2 * y + phase)
        edge = (before_x - 0.4 * y - 34).clamp(0, 1)
        colours.append(torch.lerp(0.45 + 0.2 * coarse + 0.15 * fine, 0.6 + 0.3 * before, edge))
    return torch.stack(colours).mul(255).round().div(255).float()[None]


@torch.inference_mode()
def results_of(model: torch.nn.Module, left: int = 0) -> dict[str, torch.Tensor]:
    """Everything that is asked of a model, by what it is."""
    if TASKS[model.task].retimes:
        # fast, so that there is something to hide, and ever faster, so that the frames beyond the two tell something
        times = [Fraction(0), *model.instants] if model.redraws_inputs else TIMES
        frames = film(model.window + 1, speed=3.0, gain=0.8, left=left)
        window, after = frames[:, :, :-1], frames[:, :, 1:]
        model.reset()
        if model.recurrent:  # what a window hands on to the next one is a part of the model
            model.between(window, ())
            window = after
        between = model.between(window, times)
        results = {f"at {time}": between[:, :, n] for n, time in enumerate(times)}
    else:
        # near whole pixels, to which neighbours are aligned: a little noise in the flow does not round otherwise
        frames = film(model.window + 2, speed=1.0, gain=0.0, left=left)
        windows = [frames[:, :, n : n + model.window] for n in range(3)]
        restored = [model(window) for window in windows]
        results = {"restored": restored[1]}
        if model.task == "denoising":
            results["told sigma 25"] = model(windows[1], sigma_8bit=25.0)
        if model.temporal_filter is not None:
            results["filtered"] = model.temporal_filter(*restored)
    # of a picture four times as large every third pixel: each of the 16 places within a pixel of the source occurs
    step = max(model.scale - 1, 1)
    return {what: result[..., ::step, ::step].contiguous() for what, result in results.items()}


def moved(results: dict[str, torch.Tensor], golden: dict[str, torch.Tensor]) -> list[str]:
    """Which results are not the golden ones, and by how much."""
    found = [f"{what}: only one of the two has it" for what in results.keys() ^ golden.keys()]
    for what in results.keys() & golden.keys():
        result, kept = results[what], golden[what].float()
        if result.shape != kept.shape:
            found.append(f"{what}: {list(kept.shape)} became {list(result.shape)}")
        elif not (rms := float((result - kept).square().mean().sqrt())) <= GOLDEN_RMS:  # what is not a number has moved
            found.append(f"{what}: off by {rms:.5f}, root mean square; {GOLDEN_RMS} is allowed")
    return sorted(found)


def golden_of(name: str, folder: Path = FOLDER) -> dict[str, torch.Tensor]:
    path = folder / f"{name}.safetensors"
    if not path.exists():
        pytest.fail(f"no golden result of {name}; make {path.name} with `pytest --accept-golden` and commit it alone")
    return load_file(path)


def accept(name: str, results: dict[str, torch.Tensor], folder: Path = FOLDER) -> None:
    """Keep them, unless those that are kept still hold: then the file would change for nothing."""
    path = folder / f"{name}.safetensors"
    if not path.exists() or moved(results, load_file(path)):
        folder.mkdir(exist_ok=True)
        save_file({what: result.half() for what, result in results.items()}, path)


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_model_gives_what_it_gave(name: str, pytestconfig: pytest.Config) -> None:
    results = results_of(create_model(name))
    if pytestconfig.getoption("accept_golden"):
        accept(name, results)
    assert not moved(results, golden_of(name)), f"{name} has moved; if it should, `pytest --accept-golden`"


def test_every_golden_result_is_of_a_model() -> None:
    orphans = {path.name for path in FOLDER.glob("*.safetensors")} - {f"{name}.safetensors" for name in RUNNABLE}
    assert not orphans, f"delete {', '.join(sorted(orphans))}: no model of that name runs as it ships"


@pytest.mark.parametrize("name", RUNNABLE)
def test_one_pixel_aside_is_noticed(name: str) -> None:
    golden = golden_of(name)
    assert len(moved(results_of(create_model(name), left=1), golden)) == len(golden)


@pytest.mark.parametrize("name", LEARNED)
def test_a_layer_of_half_its_strength_is_noticed(name: str) -> None:
    model = create_model(name)
    with torch.no_grad():
        layers = {layer: weight for layer, weight in model.named_parameters() if weight.ndim > 1}
        layers[CHANGED.get(name, list(layers)[-1])].mul_(0.5)
    assert moved(results_of(model), golden_of(name))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vi-ls3d-flow", {"strength": 0.6}),
        ("vi-ls3d-small", {"own_quarters": True}),
        ("vsr-ls3d-small", {"align": False}),
        ("vdn-ls3d-small", {"align": False}),
        ("vdb-ls3d-small", {"max_offset": 1}),
    ],
)
def test_another_default_is_noticed(name: str, change: dict[str, object]) -> None:
    assert moved(results_of(create_model(name, **change)), golden_of(name))


@pytest.mark.parametrize("change", [{"refinement": 10}, {"occlusion_pixels": 2.5}, {"smoothing": 7}])
def test_another_default_of_flow_blend_is_noticed(change: dict[str, float]) -> None:
    assert moved(results_of(FlowBlend(FlowBlendConfig(**change))), golden_of("flow-blend"))


def test_a_result_of_another_shape_or_not_a_number_or_gone_has_moved() -> None:
    golden = {"a": torch.zeros(2, 2), "b": torch.zeros(2, 2), "c": torch.zeros(2, 2)}
    found = moved({"a": torch.zeros(2, 3), "b": torch.full((2, 2), torch.nan)}, golden)
    assert [line.split(":")[0] for line in found] == ["a", "b", "c"]


def test_what_is_missing_is_made_by_accepting_and_what_holds_is_left(tmp_path: Path) -> None:
    folder, results = tmp_path / "golden", {"a": torch.full((2, 2), 0.5)}
    with pytest.raises(pytest.fail.Exception, match=r"no golden result of new; make .* `pytest --accept-golden`"):
        golden_of("new", folder)
    accept("new", results, folder)
    assert not moved(results, golden_of("new", folder))
    accept("new", {"a": results["a"] + GOLDEN_RMS / 2}, folder)
    assert torch.equal(golden_of("new", folder)["a"].float(), results["a"])
    accept("new", {"a": results["a"] + GOLDEN_RMS * 2}, folder)
    assert not torch.equal(golden_of("new", folder)["a"].float(), results["a"])
