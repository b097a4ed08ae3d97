"""Install torch without CUDA, or say beforehand that there is no such build and how to avoid the large one.

python tools/install_torch.py     # into the Python that runs it; `make` does this before anything else

On Linux, PyPI's torch brings CUDA, about 5 GB, on whatever machine. Builds without it are on PyTorch's own index. Which
build pip would take is asked first, without loading it, so that a mirror that holds the small build is used as it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
# pip ignores an index that it cannot reach; it need not try for minutes
_WITH_CPU_BUILDS = ("--extra-index-url", CPU_BUILDS, "--retries", "0", "--timeout", "15")


def main() -> None:
    if find_spec("torch") is not None:
        return
    requirement = wanted(CONSTRAINTS.read_text())
    for options in ((), _WITH_CPU_BUILDS):
        build = found(requirement, options)
        if not brings_cuda(build):
            break
    else:
        print(warning(requirement, build), file=sys.stderr, flush=True)
        options = ()
    # what torch needs comes with the package, and from the usual index
    pip("install", "--quiet", "--no-deps", *options, requirement)


def wanted(constraints: str) -> str:
    """The line about torch, such as "torch==2.13.0"."""
    (line,) = re.findall(r"^torch==\S+$", constraints, re.MULTILINE)
    return str(line)


def found(requirement: str, options: tuple[str, ...]) -> dict[str, Any]:
    """The metadata of the build that pip would install, as pip reports it."""
    asked = ("--dry-run", "--no-deps", "--ignore-installed", "--quiet", "--report", "-", *options, requirement)
    (build,) = json.loads(pip("install", *asked))["install"]
    metadata: dict[str, Any] = build["metadata"]
    return metadata


def brings_cuda(build: dict[str, Any], platform: str = sys.platform) -> bool:
    """Whether a build of torch requires the packages of CUDA on this system, which they support on Linux alone."""
    return platform == "linux" and any(re.match(r"nvidia-|cuda-", name) for name in build.get("requires_dist", ()))


def warning(requirement: str, build: dict[str, Any]) -> str:
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        f"refilm: for Python {python}, the package index has {requirement} only as the build with CUDA "
        f"({build['version']}), and {CPU_BUILDS} cannot be reached or has none either. Loading it now: about 5 GB with "
        "what it requires. To avoid this, stop (Ctrl-C) and take another Python, such as `make demo "
        f"PYTHON=python3.11`, or name an index with a small build: `PIP_EXTRA_INDEX_URL=... make demo`"
    )


def pip(*arguments: str) -> str:
    """What pip prints to its standard output. Its errors reach the terminal."""
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    main()
