"""PyAV may be exchanged, and its crashes kept away, because one package alone knows it."""

import ast
from pathlib import Path

import refilm

SRC = Path(refilm.__file__).parent


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def test_nothing_outside_video_imports_pyav():
    users = {
        path.relative_to(SRC).parts[0]
        for path in SRC.rglob("*.py")
        if any(module.split(".")[0] == "av" for module in imported(path))
    }
    assert users == {"video"}
