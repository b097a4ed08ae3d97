"""Do the CPU kernels stay inside their arrays? Builds them with AddressSanitizer and runs the parity tests on them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None or shutil.which("g++") is None, reason="needs cmake and g++")
def test_kernels_stay_inside_their_arrays(tmp_path: Path) -> None:
    package = tmp_path / "refilm"
    shutil.copytree(ROOT / "src" / "refilm", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    python = f"-DPython_EXECUTABLE={sys.executable}"
    output = f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={package}"
    run("cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), "-DREFILM_SANITIZE=ON", python, output)
    run("cmake", "--build", str(tmp_path / "build"), "--parallel", "2")
    assert list(package.glob("_native*"))
    run(
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
        *("tests/ops/ls3d_conv/test_ls3d_parity.py", "tests/ops/test_map_kernels.py"),
        *("-o", f"pythonpath=tests {tmp_path}"),
        LD_PRELOAD=run("g++", "-print-file-name=libasan.so").strip(),
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",  # Python and torch keep much until they end
        PYTHONPATH=str(tmp_path),
        OMP_NUM_THREADS="2",
    )
