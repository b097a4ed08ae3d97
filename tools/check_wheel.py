"""Build the wheel, install it into a fresh environment, and run what is installed there.

python tools/check_wheel.py      # CI does this

The fresh environment finds torch and all else that refilm requires in the environment that runs this, in which the
kernels were compiled before, so nothing is downloaded or compiled. Ends with an error if something fails, or is too
large or too slow.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILM = ROOT / "examples" / "bikes.mp4"
LARGEST_MB = 70  # of which weights may take 60; PyPI takes files of up to 100
# Processor time until `refilm --help` has answered, as a multiple of what the libraries that parse and print take to be
# imported. In seconds, the bound would depend on the machine.
LONGEST_HELP = 2.5
HELP = "from refilm.cli.main import run; run(['--help'])"
LIBRARIES = "import cyclopts, rich.console, rich.table"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        size = wheel.stat().st_size / 1e6
        print(f"{wheel.name}: {size:.1f} MB", flush=True)
        python = install(wheel, Path(folder) / "fresh")
        check(python, Path(folder))
        ratio, seconds = help_time(python), min(imported(python) for _ in range(5))
        print(f"refilm --help: {seconds:.2f} s of imports; {ratio:.2f} times the processor time of cyclopts and rich")
    if size > LARGEST_MB:
        sys.exit(f"the wheel is larger than {LARGEST_MB} MB")
    if ratio > LONGEST_HELP:
        sys.exit(f"refilm --help takes more than {LONGEST_HELP} times as long as importing cyclopts and rich")


def build(folder: Path) -> Path:
    """The wheel, built in `folder`."""
    asked = ("--quiet", "--no-deps", "--no-build-isolation", "--check-build-dependencies", "--wheel-dir", str(folder))
    output(sys.executable, "-m", "pip", "wheel", *asked, str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """Install the wheel into a new environment. -> its Python"""
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    output(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel))
    (packages,) = environment.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "requirements.pth").write_text("\n".join(ours))
    return python


def check(python: Path, folder: Path) -> None:
    """Run what is installed: version, doctor, help, completion, a job."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    refilm = str(python.with_name("refilm"))
    place = output(str(python), "-c", "import refilm; print(refilm.__file__)", cwd=folder)
    assert Path(place.strip()).is_relative_to(python.parents[1]), f"another refilm was found: {place}"
    assert output(refilm, "--version").strip() == version
    assert "ls3d_conv cpu native" in output(refilm, "doctor"), "the wheel has no kernels that work here"
    assert "complete -F" in output(refilm, "completion", "bash")
    output(refilm, "denoise", str(FILM), "clean.mkv", "--to", "0.1", cwd=folder)
    assert "640x272" in output(refilm, "probe", "clean.mkv", cwd=folder)


def help_time(python: Path) -> float:
    """Processor time of `refilm --help` beside that of importing cyclopts and rich."""
    told = "\nimport sys, time; print(time.process_time(), file=sys.stderr)"
    runs = [[float(run(python, code + told).split()[-1]) for code in (HELP, LIBRARIES)] for _ in range(5)]
    own, libraries = map(min, zip(*runs, strict=True))
    return own / libraries


def imported(python: Path) -> float:
    """Seconds of all imports of `refilm --help`."""
    told = run(python, HELP, "-X", "importtime")
    return sum(int(own) for own in re.findall(r"^import time:\s+(\d+) \|", told, re.MULTILINE)) / 1e6


def run(python: Path, code: str, *options: str) -> str:
    """What a program prints to its standard error."""
    return subprocess.run([str(python), *options, "-c", code], capture_output=True, text=True, check=True).stderr


def output(*command: str, cwd: Path | None = None) -> str:
    """What a command prints. Raises SystemExit with its errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
