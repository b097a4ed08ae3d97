"""Training of detection, in small."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("lightning")

from safetensors.torch import save_file
from toys.films import write_levels
from toys.things import write_sequences

from refilm.data.draws import generator
from refilm.errors import RefilmError
from refilm.layers.boxes import overlaps
from refilm.models import create_model
from refilm.models.rfcn import Regions
from refilm.training import export, read_recipe, train
from refilm.training.detection import Detection, known_objects, shaken
from refilm.training.detection_losses import ABSENT, HIDDEN, Known, judged_losses, matches, region_losses
from refilm.training.train import create_problem
from refilm.weights import load_weights

RECIPE = """
model = "rfcn-mobilenet-off"
config = { channels = 16, bins = 3, reduced = 4, width = 8, blocks = 1, proposals = 12 }
height = 64
width = 96
made_val = 2
batch = 2
steps = 2
val_every = 2
shaken = 1
hard = 8
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path / "tiny.toml"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Settings that name sequences with masks, and films of one colour."""
    folder = tmp_path_factory.mktemp("objects")
    write_sequences(folder)
    (folder / "films").mkdir()
    for number in range(5):
        write_levels(folder / "films" / f"{number}.mkv", [100 + 10 * number] * 6)
    return [f"cutouts={folder}", f'films=["{folder / "films"}"]']


def test_trains_and_exports_weights_that_load(recipe, data, tmp_path, capsys):
    checkpoint = train(recipe, out=tmp_path / "run", device="cpu", settings=data)
    assert "over the same frame instead of its neighbours" in capsys.readouterr().out
    file = export(checkpoint, tmp_path / "weights")
    weights = load_weights(file)
    assert 0 <= weights.metrics["map50"][0] <= 100
    model = create_model("rfcn-mobilenet-off", file)
    assert model.config.channels == 16
    assert len(model(torch.rand(1, 3, 5, 64, 96), 0.0)) == 1


def test_a_detector_of_single_frames_is_the_start_of_one_with_off(recipe, data, tmp_path, capsys):
    single = train(recipe, out=tmp_path / "one", device="cpu", settings=[*data, "model=rfcn-mobilenet"])
    file = export(single, tmp_path / "weights")
    capsys.readouterr()
    problem = create_problem(read_recipe(recipe, [*data, f"start={file}"]))
    assert "tensors are not in" in capsys.readouterr().out
    clip = torch.rand(1, 3, 1, 64, 96)
    with torch.no_grad():
        before = create_model("rfcn-mobilenet", file)(clip, 0.0)[0]
        after = problem.model.eval()(clip.expand(-1, -1, 5, -1, -1), 0.0)[0]
    torch.testing.assert_close(after.scores, before.scores)


def test_a_backbone_learned_on_pictures_is_a_start(recipe, data, tmp_path):
    backbone = create_model("tsn-gesture", weights=None).streams["rgb"].backbone
    save_file({name: value.half() for name, value in backbone.state_dict().items()}, tmp_path / "pictures.safetensors")
    problem = create_problem(read_recipe(recipe, [*data, f"backbone={tmp_path / 'pictures.safetensors'}"]))
    name = "features.0.0.weight"
    expected = backbone.state_dict()[name].half().float()
    torch.testing.assert_close(problem.model.backbone.state_dict()[name], expected)
    rates = {group["lr"] for group in problem.configure_optimizers()["optimizer"].param_groups}
    assert len(rates) == 2
    frozen = create_problem(read_recipe(recipe, [*data, "backbone_rate=0"]))
    assert not any(parameter.requires_grad for parameter in frozen.model.backbone.parameters())
    assert len(frozen.configure_optimizers()["optimizer"].param_groups) == 1


def test_batches_depend_on_the_step_alone(recipe, data):
    config = read_recipe(recipe, data)
    first, second = (create_problem(config).draw(step) for step in (3, 3))
    assert torch.equal(first.clips, second.clips)
    assert torch.equal(first.known.boxes, second.known.boxes)
    assert torch.equal(first.shaken, second.shaken)
    assert first.clips.shape == (2, 3, 3, 64, 96)
    assert first.clips.dtype == torch.uint8


def test_fgfa_learns_from_a_frame_before_and_a_frame_after(recipe, data):
    fgfa = ["model=fgfa-mobilenet", "config.embedding=8", "config.aside=3"]
    problem = create_problem(read_recipe(recipe, [*data, *fgfa]))
    assert isinstance(problem, Detection)
    batch = problem.draw(0)
    assert batch.flows.shape == (2, 3, 2, 4, 6)
    assert not batch.flows[:, 1].any()
    assert problem.loss(batch, 0).isfinite()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "nothing to train on: give a folder of sequences with masks"),
        (["real=0.8", "pictures=0.3"], "shares that add up to 1"),
        (["hard=0"], "hard and made_val at least 1"),
        (["backbone_rate=-1"], "backbone_rate must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe, settings, message):
    with pytest.raises((RefilmError, ValueError), match=message):
        create_problem(read_recipe(recipe, settings))


def known(boxes, labels, complete=True):
    return Known(torch.tensor([boxes], dtype=torch.float32), torch.tensor([labels]), torch.tensor([complete]))


TWO = known([[0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 0, 0]], [2, HIDDEN, ABSENT])


def test_boxes_match_the_object_that_they_overlap_most():
    boxes = torch.tensor([[[0.0, 0, 10, 8], [20, 20, 40, 40], [60, 60, 70, 70]]])
    found = matches(boxes, TWO)
    torch.testing.assert_close(found.overlap, torch.tensor([[0.8, 0.0, 0.0]]))
    # what covers an object that is not to be learned is no example of the background
    assert found.to_learn.tolist() == [[True, False, True]]
    assert matches(boxes, TWO._replace(complete=torch.tensor([False]))).to_learn.tolist() == [[True, False, False]]


def test_the_loss_of_regions_falls_as_they_are_right():
    around = torch.tensor([[0.0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70], [0, 0, 12, 9]])

    def loss(*logits, shift=0.0):
        return region_losses(Regions(torch.tensor([logits]), torch.full((1, 4, 4), shift), around), TWO)

    right, wrong = loss(9.0, 0.0, -9.0, 9.0), loss(-9.0, 0.0, 9.0, -9.0)
    assert right[0] < 0.01 < wrong[0]
    assert loss(9.0, -50.0, -9.0, 9.0)[0] == pytest.approx(right[0].item()), "an anchor that is not to be learned"
    assert loss(9.0, 0.0, -9.0, 9.0, shift=1.0)[1] > right[1]


def test_the_second_stage_learns_from_the_hardest_regions():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70], [80, 80, 90, 90], [0, 0, 0, 0]]])
    logits = torch.zeros(1, 5, 4)
    logits[0, 0, 3] = 9  # an object of class 2, as it is
    logits[0, 2, 0] = 9  # background, as it is
    logits[0, 3, 1] = 9  # background that is taken for class 0
    offsets = torch.zeros(1, 5, 4)
    classes, box = judged_losses(logits, offsets, boxes, TWO, 1)
    assert classes > 8
    assert box == 0
    every, _ = judged_losses(logits, offsets, boxes, TWO, 5)
    assert every.item() == pytest.approx(classes.item() / 3, rel=0.01), "three count: one is hidden, one is empty"


def test_a_loss_without_objects_is_finite_and_has_gradients():
    none = known([[0, 0, 0, 0]], [ABSENT])
    logits = torch.zeros(1, 3, 4, requires_grad=True)
    offsets = torch.zeros(1, 3, 4, requires_grad=True)
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 5, 5], [60, 60, 70, 70]]])
    losses = judged_losses(logits, offsets, boxes, none, 2)
    around = Regions(torch.zeros(1, 3, requires_grad=True), offsets, boxes[0])
    losses = (*losses, *region_losses(around, none))
    torch.stack(losses).sum().backward()
    assert logits.grad.isfinite().all()
    assert offsets.grad.isfinite().all()


def test_shaken_boxes_stay_near():
    boxes = known([[10, 10, 30, 50]], [0])
    found = shaken(boxes, 50, generator(0, 0))
    assert found.shape == (1, 50, 4)
    overlap = overlaps(found, boxes.boxes)
    assert 0.4 < overlap.mean() < 0.9


def test_objects_that_are_hardly_seen_are_not_learned(recipe, data):
    problem = create_problem(read_recipe(recipe, data))
    scene = problem.val[0]
    scene = scene._replace(visible=scene.visible * 0 + 0.1)
    labels = known_objects([scene], 1, problem.model.labels).labels
    assert set(labels.flatten().tolist()) <= {HIDDEN, ABSENT}
