"""Which build of torch `make` installs, for every answer that a package index can give. pip is a stand-in here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = {"version": "2.13.0+cpu", "requires_dist": ["filelock", "sympy>=1.13.3"]}
LARGE = {
    "version": "2.13.0",
    "requires_dist": ["filelock", 'nvidia-nccl-cu13==2.29.7; platform_system == "Linux"'],
}


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location("install_torch", ROOT / "tools" / "install_torch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module.sys, "platform", "linux")
    return module


@pytest.fixture
def installed(tool, monkeypatch):
    """installed(plain, official): the arguments with which pip installs, if its indexes hold these builds."""

    def run(plain, official):
        calls = []

        def pip(*arguments):
            if "--dry-run" not in arguments:
                calls.append(arguments)
            return json.dumps({"install": [{"metadata": official if tool.CPU_BUILDS in arguments else plain}]})

        monkeypatch.setattr(tool, "pip", pip)
        tool.main()
        (call,) = calls
        return call

    return run


def test_a_small_build_of_the_usual_index_is_taken_as_it_is(tool, installed, capsys):
    call = installed(SMALL, LARGE)
    assert tool.CPU_BUILDS not in call
    assert capsys.readouterr() == ("", "")


def test_a_small_build_of_pytorchs_index_is_taken_otherwise(tool, installed, capsys):
    call = installed(LARGE, SMALL)
    assert tool.CPU_BUILDS in call
    assert capsys.readouterr() == ("", "")


def test_the_large_build_is_announced_with_ways_to_avoid_it(tool, installed, capsys):
    call = installed(LARGE, LARGE)
    assert tool.CPU_BUILDS not in call
    said = capsys.readouterr().err
    assert "about 5 GB" in said
    assert "PYTHON=" in said
    assert "PIP_EXTRA_INDEX_URL=" in said


def test_what_is_installed_is_the_version_that_the_constraints_name(tool, installed):
    requirement = installed(SMALL, SMALL)[-1]
    assert requirement in (ROOT / "constraints.txt").read_text().splitlines()


def test_other_systems_have_no_large_build(tool):
    assert tool.brings_cuda(LARGE, "linux")
    assert not tool.brings_cuda(LARGE, "darwin")


def test_a_torch_that_is_there_stays(tool, monkeypatch):
    monkeypatch.setattr(tool, "find_spec", lambda name: object())
    monkeypatch.setattr(tool, "pip", lambda *arguments: pytest.fail("nothing is to be installed"))
    tool.main()
