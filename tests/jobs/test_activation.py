"""`refilm explain` with a recogniser shows where in the frames it finds what it says."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch
from toys import shade
from toys.films import write_levels

from refilm.cli.main import run
from refilm.errors import UsageError, VideoError
from refilm.jobs.activation import activation, heat_of
from refilm.models import MODELS, create_model


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setitem(MODELS, "shade", shade.ROW)


@pytest.fixture
def film(tmp_path):
    """Two seconds, of which the left half is black and the right half is white; 96x64 pixels."""
    path = tmp_path / "halves.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "gray"
        picture = np.repeat(np.array([[16] * 48 + [235] * 48], np.uint8), 64, axis=0)
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))
    return path


class WithoutMap(shade.Shade):
    """The same, without a map to show, and with a blind lower half."""

    def activation(self, clip):
        return None

    def forward(self, clip):
        return clip[..., :4, :].mean(dim=(1, 2, 3, 4))[:, None] * torch.tensor([-1.0, 0.0, 1.0])


def test_heat_is_where_the_map_says():
    clip = torch.zeros(1, 3, 6, 8, 12)
    clip[..., 6:] = 1
    heat = heat_of(shade.Shade(), clip, shade.LABELS.index("bright"))
    assert heat.shape == (6, 8, 12)
    assert heat[..., -1].min() > 0.9
    assert heat[..., 0].max() < 0.1
    heat = heat_of(shade.Shade(), clip, shade.LABELS.index("dark"))
    assert heat[..., 0].min() > 0.9


def test_without_a_map_heat_is_where_the_gradient_is():
    heat = heat_of(WithoutMap(), torch.rand(1, 3, 6, 8, 12), 2)
    assert heat.shape == (6, 8, 12)
    assert heat[:, :4].min() == pytest.approx(1)
    assert heat[:, 5:].max() == 0


def test_the_picture_shows_what_speaks_for_a_label_in_warm_colours(film, tmp_path):
    network = create_model("shade").eval()
    found = activation(film, tmp_path / "a.png", network, "shade", label="bright")
    assert (found.start, found.end, found.frames) == (1, 2, 6)
    assert found.shown.label == "bright"
    assert sum(score for _, score in found.labels) == pytest.approx(1)
    card = cv2.imread(str(tmp_path / "a.png"))[:240, :360].astype(int)
    blue, _, red = card[100, 340]
    assert red > blue + 50, "bright is to the right"
    assert activation(film, tmp_path / "b.png", network, "shade", Fraction(1, 2)).shown == found.labels[0]


def test_the_command_says_what_it_shows(film, tmp_path, capsys):
    out = tmp_path / "looks.png"
    assert run(["explain", str(film), str(out), "--model", "shade", "--at", "0:01"]) == 0
    assert "from 1.000 s to 2.000 s, in 6 frames; the likeliest: gray" in capsys.readouterr().out
    for arguments, message in (
        (["--at", "1,2,3"], "shade is for recognition, and --at wants a time such as 2.5, got 1,2,3"),
        (["--label", "wave"], "shade knows no label 'wave'; there are: dark, gray, bright"),
        (["--at", "9"], "ends at 2 s, before 9 s"),
    ):
        assert run(["explain", str(film), str(out), "--model", "shade", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert run(["explain", str(film), str(out), "--label", "dark", "--at", "1,2,3"]) == 2
    assert "--label is about models for recognition" in capsys.readouterr().err


def test_a_short_film_and_its_very_end_have_a_picture(tmp_path):
    network = create_model("shade").eval()
    one = write_levels(tmp_path / "one.mkv", [200])
    assert activation(one, tmp_path / "one.png", network, "shade").end == Fraction(1, 25)
    whole = write_levels(tmp_path / "second.mkv", [200] * 25)
    assert activation(whole, tmp_path / "end.png", network, "shade", Fraction(1)).end == 1
    with pytest.raises(UsageError, match="ends at 1 s"):
        activation(whole, tmp_path / "end.png", network, "shade", Fraction(2))
    with pytest.raises(VideoError, match="cannot be written"):
        activation(whole, tmp_path / "nowhere" / "a.png", network, "shade")
