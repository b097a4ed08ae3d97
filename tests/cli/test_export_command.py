"""`refilm export` and `refilm weights`: errors are one line, cards are printed. The files: tests/export."""

import pytest

from refilm.cli.main import run
from refilm.models.table import MODELS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "vi-ls3d-smal", "out.onnx"), "did you mean vi-ls3d-small"),
        (("export", "vi-ls3d-small", "out.pt"), "ends in .onnx"),
        (("export", "flow-blend", "out.onnx"), "motion by DIS"),
        (("weights", "fetch", "a/b/c"), "such as user/name"),
        (("weights", "card", "missing.safetensors"), "no such weight file"),
        (("weights", "push", "missing.safetensors", "me/mine"), "no such weight file"),
    ],
)
def test_wrong_usage_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(list(arguments)) in (1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_card_is_printed(capsys):
    assert run(["weights", "card", MODELS["rfcn-mobilenet"].weights]) == 0
    assert 'pipeline_tag: "object-detection"' in capsys.readouterr().out
