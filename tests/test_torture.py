"""A little of what `make torture` does at length."""

from __future__ import annotations

import contextlib
import random
from fractions import Fraction

import pytest
import rare_files
import torture


def test_sixty_hostile_inputs_end_as_promised(tmp_path):
    said = []
    outcomes = torture.hostile_inputs(60, seed=4, folder=tmp_path, tell=said.append)
    faults = {key: count for key, count in outcomes.items() if key[1] == "FAULT"}
    assert not faults, said
    assert sum(outcomes.values()) == 60
    ends = {outcome for _, outcome in outcomes}
    assert {"done", "done, with a warning", "VideoError"} <= ends, "the mutations reach all of them"


def test_a_dozen_hostile_bitstreams_end_as_promised(tmp_path):
    said = []
    outcomes = torture.hostile_bitstreams(12, seed=4, folder=tmp_path, tell=said.append)
    assert not any(outcome == "FAULT" for _, outcome in outcomes), said
    assert {"done", "done, with a warning"} <= {outcome for _, outcome in outcomes}


def test_a_picture_that_is_garbage_or_missing_without_a_word_is_a_fault(tmp_path, monkeypatch):
    whole = [(Fraction(n), bytes([n])) for n in range(9)]
    for found, told, is_fault in (
        (whole, [], False),
        (whole[2:], [], True),
        (whole[:-2], [], False),
        (whole[:3] + whole[5:], [], True),
        (whole[:3] + whole[5:], ["2 damaged packets"], False),
        ([*whole[:8], (Fraction(8), b"garbage")], [], True),
        (whole[::-1], ["1 damaged packet"], True),
    ):
        monkeypatch.setattr(torture, "shown", lambda _, found=found, told=told: (found, told))
        with pytest.raises(AssertionError) if is_fault else contextlib.nullcontext():
            torture.read_as_promised(tmp_path, whole)


def test_a_kill_before_any_change_to_the_disk_loses_nothing(tmp_path):
    """Every tenth of them; `make torture` has them all."""
    faults = torture.Faults(tmp_path)
    outcomes = [faults.kill_at_step(step) for step in range(2, 92, 10)]
    assert {"finished when called again", "was finished"} == set(outcomes)


@pytest.mark.parametrize("fault", ["source_changes_while_read", "output_appears"])
def test_what_others_do_meanwhile_is_noticed(tmp_path, fault):
    assert getattr(torture.Faults(tmp_path), fault)()


@pytest.mark.parametrize("fault", ["decoder_killed", "two_at_once", "clock_jumps", "interrupted_twice"])
def test_the_same_packets_after(tmp_path, fault):
    assert getattr(torture.Faults(tmp_path), fault)(random.Random(3))


def test_the_command_writes_its_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(torture.Faults, "kill_at_step", lambda self, step: "undisturbed")
    monkeypatch.setattr(rare_files, "KINDS", [k for k in rare_files.KINDS if k.name == "an empty pipe as input"])
    results = tmp_path / "reliability.md"
    arguments = ["--inputs", "2", "--rounds", "0", "--samples", str(tmp_path), "--results", str(results)]
    monkeypatch.setattr("sys.argv", ["torture.py", *arguments])
    torture.main()
    told = "2 hostile inputs, 1 hostile bitstreams, 1 injected faults and 1 rare files, of which 0 broke a promise"
    assert told in results.read_text()
