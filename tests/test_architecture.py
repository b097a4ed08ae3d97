"""The tree is the architecture: imports point one way, and no kernel or heavy package is needed to start."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "refilm"
LEAVES = {"errors", "tasks", "options"}  # files that anyone may import, since they import no package
MAY_IMPORT = {
    "ops": set(),
    "layers": {"ops"},
    "weights": set(),
    "models": {"ops", "layers", "weights"},
    "video": set(),
    "data": {"video"},
    "stages": {"layers", "models", "video"},
    "jobs": {"models", "video", "stages"},
    "comparison": {"video", "jobs"},
    "training": {"layers", "models", "weights", "video", "data", "stages", "evaluation"},
    "evaluation": {"ops", "layers", "models", "weights", "video", "data", "stages"},
    "export": {"ops", "models", "weights", "video", "stages", "jobs"},
    "web": {"models", "video", "jobs"},
    "cli": {
        "ops",
        "models",
        "video",
        "stages",
        "jobs",
        "comparison",
        "evaluation",
        "training",
        "data",
        "export",
        "web",
    },
}


# What else may be imported: by a package from the files beside it, and by those files from the packages.
ALSO = {"cli": {"api", "detection", "recognition"}, "export": {"api", "stream"}, "web": {"api"}, "ops": {"_native"}}
FILES = {
    "api": {"models", "video", "stages", "jobs"},
    "detection": {"stages", "jobs", "api", "video"},
    "recognition": {"stages", "jobs", "api", "video"},
    "stream": {"stages", "jobs", "api", "video"},
    "__init__": {
        "models",
        "ops",
        "video",
        "stages",
        "comparison",
        "api",
        "detection",
        "recognition",
        "stream",
        "export",
    },
    **{name: set() for name in LEAVES},
}


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Each part of refilm that a file of `package` imports, by its name below refilm, with the line."""
    for node in ast.walk(ast.parse(source)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            # from the root each name is a part, be it a package or one of the names found when first used
            modules = [f"refilm.{alias.name}" for alias in node.names] if module == "refilm" else [module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "import_module":
            modules = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        yield from ((node.lineno, m.split(".")[1]) for m in modules if m.startswith("refilm."))


def check(path: Path, allowed: set[str]) -> None:
    package = ".".join(["refilm", *path.relative_to(SRC).parent.parts])
    for line, target in imports(path.read_text(), package):
        assert target in allowed, f"{path}:{line} imports refilm.{target}"


@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("from refilm.video import Frame", ["video"]),
        ("from refilm.video.frame import Frame", ["video"]),
        ("from refilm import video, api as a", ["video", "api"]),
        ("from refilm import enhance", ["enhance"]),
        ("import refilm.video", ["video"]),
        ("import os, refilm.video.frame as frame", ["video"]),
        ("importlib.import_module('refilm.video.frame')", ["video"]),
        ("from importlib import import_module\nf = import_module('refilm.video').frames", ["video"]),
        ("from . import native", ["ops"]),
        ("from .native import available", ["ops"]),
        ("from .. import video", ["video"]),
        ("from ..video.frame import Frame", ["video"]),
        ("def f():\n    if True:\n        import refilm.video", ["video"]),
        ("import refilm, os\nimport refilmed.video\nfrom torch import nn\nimport_module('os.path')", []),
        ("import_module(name)\n'refilm.video'", []),
    ],
)
def test_every_way_to_import_is_seen(source: str, targets: list[str]):
    assert [target for _, target in imports(source, "refilm.ops")] == targets


def test_every_package_and_file_has_its_place():
    assert {path.parent.name for path in SRC.glob("*/__init__.py")} == set(MAY_IMPORT)
    assert {path.stem for path in SRC.glob("*.py")} <= set(FILES)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package):
    for path in (SRC / package).rglob("*.py"):
        check(path, MAY_IMPORT[package] | ALSO.get(package, set()) | LEAVES | {package})


@pytest.mark.parametrize("path", sorted(SRC.glob("*.py")), ids=lambda path: path.stem)
def test_files_beside_the_packages_import_what_they_may(path):
    check(path, FILES[path.stem] | LEAVES)


@pytest.mark.parametrize(
    "module", ["refilm", "refilm.api", "refilm.models", "refilm.video.child", "refilm.cli.main", "refilm.web.server"]
)
def test_what_is_needed_before_a_model_runs_does_not_wait_for_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
