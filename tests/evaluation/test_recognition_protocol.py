"""Evaluation of recognition, with a toy whose weights are made by hand."""

import json

import pytest
import torch
from toys.films import ramps, write_labelled
from toys.recogniser import Glance, GlanceConfig, seeing_change

import refilm
from refilm.data.flips import Flips
from refilm.data.labelled import find_labelled
from refilm.errors import UsageError
from refilm.evaluation import evaluate
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.recognition import ModelRecogniser
from refilm.models import MODELS, Model
from refilm.tasks import TASKS, Figure, Task
from refilm.weights import Weights, save_weights

CENTER = "recognition-center"


@pytest.fixture(autouse=True)
def glance(monkeypatch):
    monkeypatch.setitem(MODELS, "glance", Model("recognition", lambda: (Glance, GlanceConfig())))
    if "recognition" not in TASKS:
        figure = Figure("top1", "top-1", "%", 1)
        monkeypatch.setitem(
            TASKS, "recognition", Task("recognition", "recognize", "events", object, CENTER, "", figure=figure)
        )


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Four clips that get brighter and two that get darker, in two parts; the fourth of the brighter ones dims."""
    kinds = [("brighter", 5), ("brighter", 5), ("brighter", 5), ("brighter", -5), ("darker", -5), ("darker", -5)]
    rows = [(f"{n}.mkv", label, n, ramps(110, [(9, step)])) for n, (label, step) in enumerate(kinds)]
    return write_labelled(tmp_path_factory.mktemp("films") / "ramps", rows)


def weights(folder, fold="0", sets=None, **fields):
    model = seeing_change(**fields)
    config = {"labels": model.labels, "segments": model.config.segments, "snippet": model.config.snippet}
    recipe = {"sets": {"ramps": fold} if sets is None else sets}
    return save_weights(Weights("glance", config, model.state_dict(), recipe), folder)


def test_a_model_is_measured_on_what_was_held_out_from_it(films, tmp_path):
    file = weights(tmp_path, fold="3")  # of serials 0 ... 5, that is 3 alone
    result = evaluate("glance", films, weights=file, results_dir=tmp_path / "results")
    assert list(result.clips) == ["3.mkv"]
    verdict = result.clips["3.mkv"]
    assert (verdict.label, verdict.told, verdict.top1, verdict.top5) == ("brighter", "darker", 0.0, 100.0)
    assert (verdict.frames, verdict.fold) == (4, "3")
    with pytest.raises(UsageError, match="was trained with fold 3 of ramps held out, so it has seen clips of fold 0"):
        evaluate("glance", films, weights=file, fold="0", results_dir=tmp_path / "results")


def test_weights_that_have_seen_all_clips_are_refused(films, tmp_path):
    with pytest.raises(UsageError, match="has learned from all clips of ramps"):
        evaluate("glance", films, weights=weights(tmp_path, "all"), results_dir=tmp_path / "results")


def test_a_set_from_which_a_model_has_not_learned_can_be_measured_as_a_whole(films, tmp_path):
    file = weights(tmp_path, sets={"others": "all"})
    result = evaluate("glance", films, weights=file, fold="all", results_dir=tmp_path / "results")
    assert len(result.clips) == 6
    assert result.mean("top1") == pytest.approx(100 * 5 / 6)
    assert result.overall["balanced"] == pytest.approx((75 + 100) / 2)
    entry = json.loads((tmp_path / "results" / "ramps" / "glance.json").read_text())["protocols"][CENTER]
    assert entry["mean"] == {"top1": 83.3333, "top5": 100.0, "balanced": 87.5}
    assert result.gflop > 0
    assert entry["clips"]["4.mkv"]["told"] == "darker"
    baselines = {
        name: json.loads((tmp_path / "results" / "ramps" / f"{name}.json").read_text())["protocols"][CENTER]["mean"]
        for name in ("chance", "commonest-class")
    }
    assert baselines["chance"] == {"top1": 50.0, "top5": 100.0, "balanced": 50.0}
    assert baselines["commonest-class"] == {"top1": 66.6667, "top5": 100.0, "balanced": 50.0}
    table = (tmp_path / "results" / "ramps" / "recognition.md").read_text()
    assert "| glance | 83.3 | 100.0 | 87.5 | 6 | all |" in table
    assert "| brighter | 75.0 | 100.0 | 50.0 |" in table
    matrix = (tmp_path / "results" / "ramps" / "confusion" / f"{CENTER}-glance.csv").read_text().splitlines()
    assert matrix[1:] == ["brighter,3,1", "darker,0,2"]
    assert (tmp_path / "results" / "ramps" / "confusion" / f"{CENTER}-glance.png").stat().st_size > 500


def test_a_folder_of_weights_is_measured_fold_by_fold(films, tmp_path):
    for fold in range(5):
        weights(tmp_path / "folds", str(fold))
    result = evaluate("glance", films, weights=tmp_path / "folds", results_dir=tmp_path / "results")
    assert {clip: verdict.fold for clip, verdict in result.clips.items()} == {
        f"{number}.mkv": str(number % 5) for number in range(6)
    }
    assert result.weights == "5 files, one a fold"
    save_weights(Weights("glance", {}, Glance().state_dict(), {"sets": {"ramps": "2"}}), tmp_path / "folds")
    with pytest.raises(UsageError, match="have the same clips held out, fold 2"):
        evaluate("glance", films, weights=tmp_path / "folds", results_dir=tmp_path / "results")
    with pytest.raises(UsageError, match="no weight files here"):
        evaluate("glance", films, weights=films, results_dir=tmp_path / "results")


def test_labels_are_matched_by_name_and_unknown_ones_are_told(films, tmp_path):
    file = weights(tmp_path, "0", labels=("brighter", "darker"))
    assert evaluate("glance", films, weights=file, results_dir=tmp_path).mean("top1") == 100.0
    file = weights(tmp_path, "4", labels=("brighter", "dimmer"))
    with pytest.raises(UsageError, match=r"4.mkv: the model knows no 'darker'; it knows brighter, dimmer"):
        evaluate("glance", films, weights=file, results_dir=tmp_path)


@pytest.mark.parametrize("name", ["recognition-tsn-25x10", "recognition-i3d-10x3"])
def test_published_protocols_show_more_and_agree_where_the_clip_is_plain(name, films):
    shown = {"recognition-tsn-25x10": 250, "recognition-i3d-10x3": 120}[name]
    protocol, labelled = PROTOCOLS[name], find_labelled(films)

    class Any25(Glance):
        """Takes any number of segments: those that count are spread over the clip."""

        def heads(self, clip):
            spread = torch.linspace(0, clip.shape[2] - 1, self.window).round().long()
            return super().heads(clip[:, :, spread])

    model = Any25()
    model.load_state_dict(seeing_change().state_dict())
    method = ModelRecogniser(model.eval(), torch.device("cpu"), protocol, labelled.flips)
    seen = method(labelled.clips[0])
    assert seen.frames == shown
    assert int(seen.scores.argmax()) == model.labels.index("brighter")


def test_scores_of_mirrored_views_go_to_the_mirrored_labels(films):
    flips = Flips(mirror={"brighter": "darker", "darker": "brighter"})
    method = ModelRecogniser(seeing_change(), torch.device("cpu"), PROTOCOLS["recognition-tsn-25x10"], flips)
    assert method._unmirrored(torch.tensor([1.0, 2.0])).tolist() == [2.0, 1.0]
    method = ModelRecogniser(seeing_change(), torch.device("cpu"), PROTOCOLS["recognition-tsn-25x10"], Flips())
    assert method._unmirrored(torch.tensor([1.0, 2.0])).isnan().all()


def test_what_a_protocol_cannot_do_is_told(films, tmp_path):
    with pytest.raises(UsageError, match="measures whole clips; leave out every"):
        evaluate("glance", films, every=4, weights=weights(tmp_path))
    with pytest.raises(UsageError, match="has no folds; leave out fold"):
        evaluate("frame-blend", films, fold="1")
    with pytest.raises(refilm.RefilmError, match="ramps has no fold '9'"):
        evaluate("glance", films, weights=weights(tmp_path, sets={}), fold="9")


def test_a_baseline_can_be_asked_for_by_itself(films, tmp_path):
    result = evaluate("commonest-class", films, results_dir=tmp_path, fold="4")
    assert (result.is_baseline, len(result.clips), result.mean("top1")) == (True, 1, 0.0)
