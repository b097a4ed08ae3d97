"""Without the compiled kernels everything works, and `kernels` says why it is slow."""

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["refilm._native"] = None  # as if it had not been built
import torch
from refilm import ops
from refilm.layers.ls3d import LS3DConv
LS3DConv(2, 2, 3, padding=1)(torch.rand(1, 2, 2, 4, 4)).sum().backward()
record = next(k for k in ops.kernels() if (k.op, k.device) == ("ls3d_conv", "cpu"))
assert record.serves == "reference" and "_native" in record.reason, record
"""


def test_without_the_extension_the_reference_serves_and_says_why() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
