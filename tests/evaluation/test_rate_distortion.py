"""Curves of codecs, and what they save."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
from evaluation.clips import write_clip
from toys.codec import Squeeze

from refilm.data.layouts import Footage
from refilm.errors import UsageError
from refilm.evaluation import evaluate
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.rate_distortion import ANCHOR, GOP, Encoder, RateDistortion, bd_rate, ms_ssim
from refilm.models import MODELS, Model

RATES = [0.05, 0.1, 0.2, 0.4]
DECIBELS = [30.0, 33.0, 36.0, 39.0]


def test_a_codec_that_takes_so_much_more_at_each_quality_takes_it_on_the_mean():
    """The definition: the mean of the logarithm of the ratio of rates over quality."""
    anchor = list(zip(RATES, DECIBELS, strict=True))
    for share in (0.7, 1.0, 1.3):
        found = bd_rate([share * rate for rate in RATES], DECIBELS, anchor)
        assert found == pytest.approx(100 * (share - 1), abs=1e-6)


def test_only_qualities_that_both_have_count():
    anchor = list(zip(RATES, DECIBELS, strict=True))
    # twice the rate above 36 dB, where the other one has no points
    found = bd_rate([0.04, 0.08, 0.16], [30.0, 33.0, 36.0], anchor)
    assert found == pytest.approx(-20, abs=1.0)
    assert bd_rate(RATES, [50.0, 51.0, 52.0, 53.0], anchor) is None


def test_the_order_of_points_does_not_matter_and_neither_does_one_that_is_worse_at_a_higher_rate():
    anchor = list(zip(RATES, DECIBELS, strict=True))
    assert bd_rate(RATES[::-1], DECIBELS[::-1], anchor) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(bd_rate([*RATES, 0.5], [*DECIBELS, 39.0], anchor))


def test_ms_ssim_is_one_for_equal_frames_and_falls():
    torch.manual_seed(0)
    frame = torch.rand(3, 176, 192)
    assert ms_ssim(frame, frame) == pytest.approx(1, abs=1e-5)
    assert ms_ssim(frame + 0.2 * torch.randn_like(frame), frame) < 0.95


@pytest.fixture
def protocol(monkeypatch):
    """With few points, and the anchor as the only baseline."""
    own = RateDistortion(baselines={ANCHOR: Encoder("libx264", "crf", (20, 30, 40), {"preset": "veryfast"})})
    monkeypatch.setitem(PROTOCOLS, own.name, own)
    return own


def test_a_curve_has_whole_files_and_rises(protocol, tmp_path):
    write_clip(tmp_path / "pan.mkv", count=GOP + 2, height=64, width=96)
    (encoder,) = protocol.baselines.values()
    curve = protocol.curve(encoder.settings(), Footage("pan.mkv", (tmp_path / "pan.mkv",)))
    assert [point.setting for point in curve] == ["crf 20", "crf 30", "crf 40"]
    for better, worse in pairwise(curve):
        assert better.size > worse.size
        assert better.psnr_db > worse.psnr_db
    for point in curve:
        assert point.bpp == pytest.approx(8 * point.size / ((GOP + 2) * 64 * 96))
        assert len(point.psnr_by_place) == GOP
        assert point.encode_fps > 0 < point.decode_fps
        assert point.ms_ssim is None, "too small for its five scales"


def test_a_codec_is_measured_beside_the_anchor_and_tables_and_plots_are_written(protocol, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "squeeze", Model("compression", lambda: (Squeeze, None), learned=False))
    folder = tmp_path / "films"
    folder.mkdir()
    write_clip(folder / "pan.mkv", count=5, height=64, width=96)
    result = evaluate("squeeze", folder, "rd", results_dir=tmp_path / "results")
    assert result.protocol == "compression-rd"
    written = tmp_path / "results" / "films"
    assert {path.name for path in (written / "rd").iterdir()} >= {"squeeze.json", f"{ANCHOR}.json", "psnr_db.png"}
    table = (written / "rd" / "rd.md").read_text()
    assert "| squeeze |" in table
    held = json.loads((written / f"{ANCHOR}.json").read_text())
    assert held["protocols"]["compression-rd"]["mean"]["bd_rate"] == pytest.approx(0)
    # one point is no curve, and no rate can be told from it
    assert result.mean("bd_rate") is None
    updated = evaluate("squeeze", folder, "rd", results_dir=tmp_path / "results", effort=1)
    assert updated.protocol == "compression-rd-effort1"
    assert "| squeeze-effort1 |" in (written / "rd" / "rd.md").read_text()
    held = json.loads((written / f"{ANCHOR}.json").read_text())
    assert set(held["protocols"]) == {"compression-rd"}, "other encoders have no effort"


@pytest.mark.parametrize(
    ("model", "effort", "message"),
    [(ANCHOR, 1, "only learned codecs have an effort"), ("dvc-epa-small", 7, "from 0 to 3, got 7")],
)
def test_an_effort_that_there_is_not_is_refused(model, effort, message, protocol, tmp_path):
    write_clip(tmp_path / "pan.mkv", count=2, height=64, width=96)
    with pytest.raises(UsageError, match=message):
        evaluate(model, tmp_path, "compression-rd", results_dir=tmp_path / "results", effort=effort)
    assert not (tmp_path / "results").exists()
