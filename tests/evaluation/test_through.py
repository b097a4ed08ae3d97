"""Recognition through restoration, with toys: a recogniser of two streams, and models that keep what it sees or not."""

import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toys.films import ramps, write_labelled
from toys.recogniser import Glance, GlanceConfig, seeing_change

from refilm.cli.main import run
from refilm.errors import RefilmError, UsageError, WeightsError
from refilm.evaluation import evaluate_through
from refilm.evaluation.through_pictures import flow_picture, liveliest, temporal_profile
from refilm.models import MODELS, Model, create_model
from refilm.models.contract import Restorer
from refilm.weights import Weights, save_weights


class Plain(nn.Module, Restorer):
    """Four times the size, by repetition."""

    task = "super-resolution"
    window, scale, size_multiple, reach = 1, 4, 1, 0
    temporal_filter = None

    def forward(self, clip):
        return F.interpolate(clip[:, :, 0], scale_factor=4)


class Gray(Plain):
    """The same dark gray for every frame."""

    def forward(self, clip):
        return torch.full_like(super().forward(clip), 0.4)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setitem(MODELS, "glance", Model("recognition", lambda: (Glance, GlanceConfig())))
    monkeypatch.setitem(MODELS, "plain", Model("super-resolution", lambda: (Plain, None), learned=False))
    monkeypatch.setitem(MODELS, "gray", Model("super-resolution", lambda: (Gray, None), learned=False))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Clips that get brighter and are bright, and such that get darker and are dark, in both folds 0 and 1."""
    kinds = [("brighter", 150, 5), ("brighter", 150, 5), ("darker", 90, -5), ("darker", 90, -5)]
    rows = [(f"{n}.mkv", label, n % 2, ramps(start, [(9, step)])) for n, (label, start, step) in enumerate(kinds)]
    return write_labelled(tmp_path_factory.mktemp("films") / "ramps", rows)


def weights(folder, fold="0", **fields):
    """A model whose stream of single frames tells bright from dark, and the other brighter from darker."""
    model = seeing_change(**fields)
    with torch.no_grad():
        rises = model.labels.index("brighter")
        model.level.weight[rises], model.level.weight[1 - rises] = 0.01, -0.01
        model.level.bias[rises] = -0.01 * 12 * model.window * 1.5  # middle gray, of three channels
        model.level.bias[1 - rises] = -model.level.bias[rises]
    config = {"labels": model.labels, "segments": model.config.segments, "snippet": model.config.snippet}
    return save_weights(Weights("glance", config, model.state_dict(), {"sets": {"ramps": fold}}), folder)


def measured(folder, *arguments, **options):
    evaluate_through(*arguments, results_dir=folder, **options)
    (table,) = json.loads((folder / "recognition" / "ramps.json").read_text())["tables"].values()
    return table


def test_each_stream_is_shown_what_its_model_makes(films, tmp_path):
    table = measured(tmp_path, str(weights(tmp_path)), films, "gray,plain")
    top1 = {name: row["top1"] for name, row in table["rows"].items()}
    sees = {"rgb": 100.0, "change": 100.0, "fused": 100.0}
    assert list(top1) == ["original", "bicubic", "gray", "plain", "gray + plain"]
    assert top1["original"] == top1["bicubic"] == top1["plain"] == sees
    # a toy that sees nothing takes every clip for the first of its labels
    assert top1["gray"] == {"rgb": 50.0, "change": 50.0, "fused": 50.0}
    assert top1["gray + plain"] == {"rgb": 50.0, "change": 100.0, "fused": 100.0}
    assert table["rows"]["original"]["psnr_db"] is table["rows"]["gray + plain"]["psnr_db"] is None
    assert table["rows"]["bicubic"]["psnr_db"] == 100.0, "flat pictures lose nothing"
    assert table["rows"]["gray"]["psnr_db"] < 30
    assert table["rows"]["gray"]["told"] == {
        "fold 0": {clip: {"rgb": "darker", "change": "darker", "fused": "darker"} for clip in ("0.mkv", "2.mkv")}
    }
    assert table["labels"] == {"0.mkv": "brighter", "2.mkv": "darker"}


def test_table_and_plot_are_written_and_other_tables_stay(films, tmp_path):
    file = weights(tmp_path)
    path = evaluate_through(str(file), films, "plain", results_dir=tmp_path)
    evaluate_through(str(file), films, "denoise", results_dir=tmp_path)
    text = path.read_text()
    assert path == tmp_path / "recognition" / "ramps.md"
    for heading in ("## glance through super-resolution-x4-bi", "## glance through denoising-sigma25-blind"):
        assert heading in text
    assert "| clips | rgb | change | fused | PSNR of Y, dB | parameters | weights |" in text
    assert "| plain | 100.0 | 100.0 | 100.0 | 100.00 | 0 | - |" in text
    assert "| vdn-ls3d-small | " in text
    assert "vdn-ls3d-small-" in text
    plots = sorted(each.name for each in path.parent.glob("*.png"))
    damages = ("denoising-sigma25-blind", "super-resolution-x4-bi")
    assert plots == [f"ramps-glance-through-{damage}.png" for damage in damages]
    assert all(f"({name})" in text and cv2.imread(str(path.parent / name)) is not None for name in plots)


@pytest.mark.parametrize(("verb", "arm"), [("upscale", "vsr-real-small"), ("deblock", "vdb-ls3d-small")])
def test_the_verb_of_a_command_is_its_default_model(verb, arm, films, tmp_path):
    table = measured(tmp_path, str(weights(tmp_path)), films, verb)
    assert list(table["rows"])[-1] == arm
    assert table["rows"][arm]["top1"]["fused"] == 100.0
    assert table["rows"][arm]["weights"] == MODELS[arm].weights


def test_any_weight_file_can_be_measured(films, tmp_path):
    state = create_model("vdsr-small", weights=None).state_dict()
    file = save_weights(Weights("vdsr-small", {}, state), tmp_path / "new")
    table = measured(tmp_path, str(weights(tmp_path)), films, f"plain,{file}")
    assert list(table["rows"])[-2:] == [file.stem, f"plain + {file.stem}"]
    assert table["rows"][file.stem]["parameters"] == sum(value.numel() for value in state.values())


def test_folds_and_seeds_have_a_spread(films, tmp_path):
    for fold in ("0", "1"):
        weights(tmp_path / "folds", fold)
    table = measured(tmp_path, str(tmp_path / "folds"), films, "gray")
    assert list(table["rows"]["gray"]["told"]) == ["fold 0", "fold 1"]
    assert len(table["labels"]) == 4
    assert table["rows"]["gray"]["spread"] == {"rgb": 0.0, "change": 0.0, "fused": 0.0}
    assert "| gray | 50.0 +- 0.0 |" in (tmp_path / "recognition" / "ramps.md").read_text()
    # files of the same fold are seeds
    seeds = tmp_path / "seeds"
    weights(seeds, "0")
    weights(seeds, "0", labels=("brighter", "darker"))
    table = measured(tmp_path, "glance", films, "gray", weights=seeds)
    assert list(table["rows"]["gray"]["told"]) == ["fold 0, seed 1", "fold 0, seed 2"]


def test_two_recognisers_are_fused_as_streams(films, tmp_path):
    one, other = weights(tmp_path, segments=4), weights(tmp_path, segments=3, labels=("brighter", "darker"))
    table = measured(tmp_path, f"{one}+{other}", films, "gray,plain")
    assert table["columns"] == ["glance 1: rgb", "glance 1: change", "glance 2: rgb", "glance 2: change", "fused"]
    assert table["recognisers"] == [["glance", one.name], ["glance", other.name]]
    assert table["rows"]["gray + plain"]["top1"]["fused"] == 100.0


def test_what_has_no_recogniser_is_said(films, tmp_path, monkeypatch):
    monkeypatch.setattr(Glance, "sees", ("change",))
    monkeypatch.setattr(Glance, "by_stream", lambda self, clip: {"change": self.heads(clip)["change"]})
    table = measured(tmp_path, str(weights(tmp_path)), films, "gray,plain")
    assert list(table["rows"]) == ["original", "bicubic", "gray", "plain"]
    assert table["lacking"] == [
        "No recogniser with weights here looks at single frames, so there is no such column, and so no row for gray + "
        "plain."
    ]


def test_pictures_show_every_method_beside_the_truth(films, tmp_path):
    evaluate_through(str(weights(tmp_path)), films, "plain", results_dir=tmp_path, pictures=tmp_path / "pictures")
    folder = tmp_path / "pictures" / "through-super-resolution-x4-bi-glance"
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "2.png"]
    sheet = cv2.imread(str(folder / "0.png"))
    assert sheet.shape[1] == 3 * (48 + 4), "bicubic, plain and the truth"
    # the profile gets brighter downwards: ten frames, two rows each
    profile = sheet[20 + 30 + 4 : 20 + 30 + 4 + 20, 10].mean(axis=-1)
    assert (np.diff(profile[::2]) > 0).all()


def test_a_profile_is_one_row_over_time():
    frames = list(torch.rand(5, 3, 8, 10))
    profile = temporal_profile(frames, 3)
    assert profile.shape == (3, 5, 10)
    assert torch.equal(profile[:, 2], frames[2][:, 3])


def test_the_liveliest_place_is_where_something_moves():
    frames = torch.zeros(6, 3, 40, 60)
    for number in range(6):
        frames[number, :, 28:32, 40 + number : 44 + number] = 1
    y, x = liveliest(frames)
    assert 22 <= y <= 37
    assert 36 <= x <= 54
    assert liveliest(frames[:1]) == (0, 0)


def test_flow_is_coloured_by_direction_and_length():
    flow = torch.zeros(2, 1, 4)
    flow[0, 0, 1], flow[1, 0, 2], flow[0, 0, 3] = 2, 2, 1
    still, right, down, short = flow_picture(flow, 2.0)[0].astype(int)
    assert not still.any()
    assert right.tolist() == [0, 0, 255]
    assert down.argmax() == 1, "downwards is green"
    assert 120 <= short[2] <= 130


@pytest.mark.parametrize(
    ("through", "message"),
    [
        (
            "plain,vdn-ls3d-small",
            "in one way at a time.*plain for super-resolution and vdn-ls3d-small for denoising",
        ),
        ("flow-blend", "flow-blend restores nothing"),
        ("nothing", "nothing restores nothing"),
        ("plain+gray+plain", "a pair is two models"),
    ],
)
def test_what_cannot_restore_is_refused(through, message, films, tmp_path):
    with pytest.raises(UsageError, match=message):
        evaluate_through(str(weights(tmp_path)), films, through, results_dir=tmp_path)


def test_what_cannot_be_recognised_is_refused(films, tmp_path):
    with pytest.raises(UsageError, match=r"plain recognises nothing; with --through, give recognisers: .*glance"):
        evaluate_through("plain", films, "gray", results_dir=tmp_path)
    with pytest.raises(UsageError, match="weights are of one recogniser"):
        evaluate_through("glance+glance", films, "gray", results_dir=tmp_path, weights=weights(tmp_path))
    with pytest.raises(UsageError, match="the protocol says what recognisers are shown: recognition-center"):
        evaluate_through("glance", films, "gray", "interpolation-x2", results_dir=tmp_path)
    config = {"labels": ("lighter", "darker")}
    file = save_weights(Weights("glance", config, Glance().state_dict(), {"sets": {"ramps": "0"}}), tmp_path)
    with pytest.raises(UsageError, match="knows no 'brighter'; it knows darker, lighter"):
        evaluate_through(str(file), films, "gray", results_dir=tmp_path)
    seeds = tmp_path / "seeds"
    for segments in (3, 4):
        weights(seeds, segments=segments)
    with pytest.raises(UsageError, match="must look at the same frames"):
        evaluate_through(str(seeds), films, "gray", results_dir=tmp_path)
    other = weights(tmp_path, labels=("brighter", "dimmer"))
    with pytest.raises(UsageError, match="must know the same labels"):
        evaluate_through(f"{weights(tmp_path)}+{other}", films, "gray", results_dir=tmp_path)
    with pytest.raises(WeightsError, match="no weights ship for glance"):
        evaluate_through("glance", films, "gray", results_dir=tmp_path)
    with pytest.raises(WeightsError, match="vdsr-small: no weights ship for vdsr-small"):
        evaluate_through(str(weights(tmp_path)), films, "vdsr-small", results_dir=tmp_path)
    one, other = weights(tmp_path, "0"), weights(tmp_path, "1")
    with pytest.raises(RefilmError, match="no fold in common"):
        evaluate_through(f"{one}+{other}", films, "gray", results_dir=tmp_path)


def test_the_command_prints_the_table(films, tmp_path, capsys):
    command = ["eval", str(weights(tmp_path)), str(films), "--through", "gray,plain", "--results", str(tmp_path)]
    assert run(command) == 0
    assert "| gray + plain | 50.0 | 100.0 | 100.0 | - | 0 | - |" in capsys.readouterr().out
    assert run([*command, "--every", "4"]) == 2
    assert "leave out --every" in capsys.readouterr().err
