from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refilm.cli import main
from refilm.evaluation.protocols import PROTOCOLS


def test_the_times_are_those_of_the_left_out_frames() -> None:
    assert PROTOCOLS["interpolation-x2"].times == (Fraction(1, 2),)
    assert PROTOCOLS["interpolation-x4"].times == (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))


@pytest.mark.parametrize("name", ["interpolation-x2", "interpolation-x4"])
@given(count=st.integers(0, 60), intervals=st.integers(1, 7))
def test_every_frame_up_to_the_last_kept_one_is_in_one_run(name: str, count: int, intervals: int) -> None:
    protocol = PROTOCOLS[name]
    runs = list(protocol.runs(range(count), intervals))
    last_kept = max(count - 1, 0) // protocol.step * protocol.step
    assert [frame for run in runs for frame in run[1:]] == list(range(1, last_kept + 1))
    for run in runs:
        assert run == list(range(run[0], run[-1] + 1))
        assert run[0] % protocol.step == run[-1] % protocol.step == 0
        assert 0 < len(run) - 1 <= intervals * protocol.step


def test_the_help_names_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["eval", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert [name for name in PROTOCOLS if f" {name}" not in told] == []
