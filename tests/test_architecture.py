"""The tree is the architecture: imports point one way, and no kernel or heavy package is needed to start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "refilm"
ALWAYS = {"errors", "api"}
MAY_IMPORT = {
    "ops": set(),
    "layers": {"ops"},
    "weights": set(),
    "models": {"ops", "layers", "weights"},
    "video": set(),
    "data": {"video"},
    "stages": {"ops", "layers", "models", "video", "data"},
    "jobs": {"ops", "layers", "models", "video", "stages"},
    "compare": {"video", "jobs"},
    "training": {"ops", "layers", "models", "weights", "video", "data", "stages", "evaluation"},
    "evaluation": {"ops", "layers", "models", "weights", "video", "data", "stages"},
    "cli": {"ops", "layers", "models", "video", "stages", "jobs", "compare", "evaluation", "training", "data"},
}


def test_every_package_has_its_place():
    assert {path.parent.name for path in SRC.glob("*/__init__.py")} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package):
    for path in (SRC / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("refilm."):
                target = node.module.split(".")[1]
                assert target in MAY_IMPORT[package] | {package} | ALWAYS, (
                    f"{path}:{node.lineno} imports refilm.{target}"
                )


def test_help_does_not_wait_for_torch():
    code = "import sys, refilm.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
