"""One call of a model does the whole thing, and tells what is wrong with its input: every model in the table alike."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from refilm.models import MODELS, create_model
from refilm.models.contract import Codec, Restorer, check_clip
from refilm.models.tsn import TSN
from refilm.stages.running import Restoring

HALF = [Fraction(1, 2)]
SIDE = 12  # a multiple of every model's size_multiple
# What is done to a clip, and how the error begins after the model's name.
WRONG: dict[str, tuple[Callable[[Tensor], object], type[Exception], str]] = {
    "no tensor": (lambda clip: clip.numpy(), TypeError, r"takes a torch tensor \[N, 3, .*, H, W\], got ndarray"),
    "bytes": (lambda clip: clip.mul(255).byte(), TypeError, "takes float32, .* got torch.uint8; divide 8-bit codes"),
    "half": (lambda clip: clip.half(), TypeError, r"takes float32, .* got torch.float16; call .float\(\)"),
    "bfloat16": (lambda clip: clip.bfloat16(), TypeError, "takes float32, .* got torch.bfloat16"),
    "range": (lambda clip: 255 * clip, ValueError, r"takes RGB in 0 ... 1, got 0.* ... 25\d.*; divide 8-bit codes by"),
    "NaN": (lambda clip: clip.clone().fill_(torch.nan), ValueError, "the clip has values that are not finite"),
    "infinite": (lambda clip: clip / 0, ValueError, "the clip has values that are not finite"),
    "gray": (lambda clip: clip[:, :1], ValueError, r"takes a clip \[N, 3, .*, H, W\], .*, got \[1, 1, "),
    "frames": (lambda clip: clip[:, :, [0] * 9], ValueError, r"RGB frames, got \[1, 3, 9, 12, 12\]"),
    "one clip": (lambda clip: clip[0], ValueError, r"takes a clip .*, got \[3, "),
    "empty": (lambda clip: clip[..., :0], ValueError, r"takes a clip .*, got .* 12, 0\]"),
}


def clip_for(model: nn.Module) -> Tensor:
    return torch.rand(1, 3, model.window, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def calls(model: nn.Module) -> list[Callable[[object], Tensor]]:
    between = [lambda clip: model.between(clip, HALF)] if hasattr(model, "between") else []
    return [model, *between]


# a codec is not called with a clip; what it takes is told in test_dvc_bits.py
CALLED = [name for name, row in MODELS.items() if Codec not in row.parts()[0].__mro__]


@pytest.fixture(scope="module", params=CALLED)
def named(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    return request.param, create_model(request.param, weights=None).eval()


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_told_by_the_models_name(named: tuple[str, nn.Module], what: str) -> None:
    name, model = named
    if what == "frames" and isinstance(model, TSN) and 9 % model.sampling.snippet == 0:
        pytest.skip("takes any number of segments")
    spoil, error, message = WRONG[what]
    for call in calls(model):
        with pytest.raises(error, match=f"^{name} .*{message}"):
            call(spoil(clip_for(model)))


def test_another_device_and_another_precision_are_told(named: tuple[str, nn.Module]) -> None:
    name, model = named
    if not list(model.parameters()):
        pytest.skip("has no weights that could be elsewhere")
    for call in calls(model):
        with pytest.raises(ValueError, match=f"^{name} is on cpu, and the clip on meta; move one of them"):
            call(clip_for(model).to("meta"))
        with pytest.raises(TypeError, match=rf"^{name} has weights in torch.float32, and the clip is torch.float64"):
            call(clip_for(model).double())
        model.half()
        with pytest.raises(TypeError, match=rf"^{name} computes in single precision.*call .float\(\) on it"):
            call(clip_for(model))
        model.float()


def test_a_size_that_does_not_fit_is_told(named: tuple[str, nn.Module]) -> None:
    name, model = named
    if model.size_multiple == 1:
        pytest.skip("takes any size")
    for call in calls(model):
        with pytest.raises(ValueError, match=f"^{name} needs H and W to be multiples of .*, got 11 x 12; pad"):
            call(clip_for(model)[..., :11, :])


def test_codes_beyond_black_and_white_and_noise_are_taken(named: tuple[str, nn.Module]) -> None:
    _, model = named
    check_clip(model, 3 * clip_for(model) - 1)


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if Restorer in row.parts()[0].__mro__])
@torch.inference_mode()
def test_a_call_gives_what_a_stream_gives_before_the_filter(name: str) -> None:
    model = create_model(name, weights="default" if MODELS[name].weights else None).eval()
    torch.manual_seed(0)
    still = torch.rand(3, 40, 48)
    frames = [still.roll(2 * n, dims=-1) for n in range(model.window)]
    run: Restoring[int] = Restoring(model, filtered=False)
    results = dict(run.over((n, lambda n=n: frames[n]) for n in range(len(frames))))
    clip = torch.stack(frames, dim=1)[None]
    assert torch.equal(model(clip)[0], results[model.window // 2]())
    if MODELS[name].weights and type(model).prepare is not Restorer.prepare:  # neighbours are aligned first
        assert not torch.allclose(model.network(clip), model(clip), atol=1e-3)
