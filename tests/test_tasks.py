"""Every task is served by every table that keys on it, and every model keeps what its contract promises."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from fractions import Fraction

import pytest
import torch
from torch import nn

import refilm
from refilm.cli.main import run
from refilm.evaluation.protocols import PROTOCOLS
from refilm.models import MODELS, create_model
from refilm.models.contract import Codec, Detector, Interpolator, Recognizer, Restorer
from refilm.options import Encoding, Running
from refilm.stages.table import STAGES
from refilm.tasks import TASKS, of_verb
from refilm.weights import SHIPPED

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def help_text():
    """What `refilm --help` prints, in a process that must not load torch for it."""
    code = "import sys; from refilm.cli.main import run; sys.exit(run(['--help']) or 10 * ('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return done.stdout


@every_task
def test_a_task_has_a_command_which_the_help_names_without_torch(task, help_text):
    assert re.search(rf"^\W*{task.verb}\s", help_text, re.MULTILINE)
    assert of_verb(task.verb) is task


def options_of(task):
    """All dataclasses of options that a task's command and function take."""
    return (task.options, Encoding, Running) if task.makes == "pictures" else (task.options, Running)


@every_task
def test_a_command_takes_all_the_options_of_its_task(task, capsys):
    assert run([task.verb, "--help"]) == 0
    told = capsys.readouterr().out
    for field in (field for kind in options_of(task) for field in fields(kind)):
        # --from, --to and --for are no names in Python
        flag = "for" if field.name == "purpose" else field.name.removesuffix("_time").replace("_", "-")
        assert f"--{flag}" in told


@every_task
def test_a_task_has_a_public_function_with_all_its_options_and_their_defaults(task):
    assert task.verb in refilm.__all__
    parameters = inspect.signature(getattr(refilm, task.verb)).parameters
    for field in (field for kind in options_of(task) for field in fields(kind)):
        assert parameters[field.name].default == field.default, field.name


@every_task
def test_a_task_has_a_stage_a_model_and_a_protocol(task):
    assert task.name in STAGES
    assert any(row.task == task.name for row in MODELS.values())
    assert PROTOCOLS[task.protocol].task == task.name


@every_task
def test_a_task_has_a_trainer(task):
    pytest.importorskip("lightning")
    from refilm.training.trainers import TRAINERS

    assert task.name in TRAINERS


def test_whatever_keys_on_a_task_names_one_that_there_is():
    named = {row.task for row in MODELS.values()} | {protocol.task for protocol in PROTOCOLS.values()} | set(STAGES)
    assert named <= set(TASKS)


def test_trainers_are_of_tasks_that_there_are():
    pytest.importorskip("lightning")
    from refilm.training.trainers import TRAINERS

    assert set(TRAINERS) <= set(TASKS)


@pytest.mark.parametrize("name", ["dncnn", "vdn-ls3d"])
def test_a_model_of_several_tasks_refuses_any_other_by_naming_its_own(name):
    with pytest.raises(ValueError, match="nonsense") as caught:
        create_model(name, weights=None, task="nonsense")
    assert set(re.findall(r'"([a-z-]+)"', str(caught.value))) == {"denoising", "deblocking"}


@pytest.mark.parametrize(("name", "other"), [("vdn-ls3d-small", "vdb-ls3d-small"), ("vi-ls3d", "vi-ls3d-flow")])
def test_weights_of_another_task_or_kind_of_model_are_refused(name, other):
    with pytest.raises(refilm.WeightsError, match=f"holds {other}, not {name}"):
        create_model(name, weights=SHIPPED / MODELS[other].weights)


@every_model
def test_a_model_states_what_those_who_run_it_have_to_know(name):
    model = create_model(name, weights=None)
    (kind,) = {Restorer, Interpolator, Recognizer, Detector, Codec} & set(type(model).__mro__)
    assert isinstance(model, nn.Module)
    assert model.task == MODELS[name].task
    assert type(model.window) is type(model.size_multiple) is int
    assert model.size_multiple >= 1
    assert model.reach is None or (type(model.reach) is int and model.reach >= 0)
    assert not model.recurrent or model.reach is None, "tiles would share one state"
    if kind is Restorer:
        assert model.window % 2 == 1
        assert type(model.scale) is int
        assert model.scale >= 1
        assert model.temporal_filter is None or isinstance(model.temporal_filter, nn.Module)
    if kind is Interpolator:
        assert model.window % 2 == 0
        assert model.window >= 2
        assert model.instants is None or all(0 < time < 1 for time in model.instants)
        assert model.plain == "blending" or not MODELS[model.plain].learned
    if kind is Codec:
        assert model.qualities >= 1
        assert model.levels == 255
        assert model.codes_keys or model.trade_off(1) < model.trade_off(model.qualities)
    if kind is Recognizer:
        assert len(set(model.labels)) == len(model.labels) > 1
        assert model.window == model.sampling.frames
    if kind is Detector:
        assert len(set(model.labels)) == len(model.labels) > 0
        assert model.window % 2 == 1
        assert type(model.side) is int
        places = model.places()
        assert places[len(places) // 2] == model.window // 2


@every_model
@torch.inference_mode()
def test_a_model_gives_what_its_contract_says_at_the_least_size_it_allows(name):
    model = create_model(name, weights=None).eval()
    height, width = (-(-side // model.size_multiple) * model.size_multiple for side in (9, 14))
    clip = torch.rand(1, 3, model.window, height, width)
    if Interpolator in type(model).__mro__:
        times = [Fraction(1, 3), Fraction(2, 3)] if model.instants is None else model.instants
        assert model.between(clip, times).shape == (1, 3, len(times), height, width)
    elif Recognizer in type(model).__mro__:
        assert model(clip).shape == (1, len(model.labels))
    elif Codec in type(model).__mro__:
        first, second = clip[0, :, 0], torch.rand(3, height, width)
        seen, written = [], []
        for way in ("compress", "decompress"):
            model.reset()
            if not model.codes_keys:
                model.refer_to(first)
            for number, frame in enumerate((first, second)):
                written += [model.compress(frame, model.qualities)] if way == "compress" else []
                picture = model.decoded if way == "compress" else model.decompress(written[number])
                seen.append(picture.clone())
        assert torch.equal(torch.stack(seen[:2]), torch.stack(seen[2:]))
        assert seen[0].shape == (3, height, width)
    elif Detector in type(model).__mro__:
        # in double precision, since an untrained detector scores many boxes alike, and rounding would choose among them
        model, clip = model.double(), clip.double()
        (found,) = model(clip)
        pictures = [clip[:, :, place] for place in model.places()]
        again = model.found_in([model.see(picture) for picture in pictures], pictures, 0.05)
        assert found.boxes.shape == (len(found.scores), 4)
        assert found.labels.shape == found.scores.shape
        boxes = [torch.tensor(sorted(each.boxes.round(decimals=1).tolist())) for each in (again, found)]
        torch.testing.assert_close(*boxes, rtol=0, atol=0.2)
    else:
        assert (
            model.network(model.prepare(clip)).shape
            == model(clip).shape
            == (1, 3, model.scale * height, model.scale * width)
        )
