"""Triton kernels are tested on a GPU if there is one; otherwise in Triton's interpreter. Its switch must be set before
Triton is loaded, so there a file of such tests runs itself again in a process of its own."""

import os
import subprocess
import sys

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_interpreter = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="run by test_in_the_interpreter")
starts_interpreter = pytest.mark.skipif(INTERPRETED or DEVICE == "cuda", reason="the other tests run here")


def run_in_interpreter(file: str) -> None:
    """Run the tests of a file in the interpreter; fails if they do."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-3000:]
