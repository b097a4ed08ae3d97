"""Install VapourSynth into the Python that runs this, also where there is no wheel for it.

python tools/install_vapoursynth.py     # the tests of refilm.export.vapoursynth are skipped without it

Its wheels are for Python 3.12 and later. On Linux, the library in such a wheel serves any Python, and the latest module
for earlier Pythons is on PyPI as source. So the module is compiled here, in about a minute, and the library is put
beside it.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from install_torch import pip

FIRST_WITH_WHEELS = (3, 12)
LATEST_AS_SOURCE = "vapoursynth==73"
# The library loads its own filters from beside it; the module is told to look for the library beside itself.
LIBRARIES = "libvapoursynth*.so*"


def main() -> None:
    if find_spec("vapoursynth") is not None:
        return
    if sys.version_info >= FIRST_WITH_WHEELS:
        pip("install", "--quiet", "vapoursynth>=74")
        return
    with tempfile.TemporaryDirectory() as folder:
        version = ".".join(map(str, FIRST_WITH_WHEELS))
        asked = ("--no-deps", "--only-binary", ":all:", "--python-version", version)
        pip("download", "--quiet", *asked, "--dest", folder, "vapoursynth>=74")
        (wheel,) = Path(folder).glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder)
        library = Path(folder) / "vapoursynth"
        (library / "libvapoursynth.so").symlink_to("libvapoursynth.so.4")
        os.environ |= {
            "CPATH": str(library / "include"),
            "LIBRARY_PATH": str(library),
            "CFLAGS": "-O1 -g0",
            "LDFLAGS": "-Wl,-rpath,$ORIGIN",
        }
        pip("install", "--quiet", "--no-deps", "--no-cache-dir", LATEST_AS_SOURCE)
        for path in library.glob(LIBRARIES):
            shutil.copy(path, sysconfig.get_path("platlib"), follow_symlinks=False)


if __name__ == "__main__":
    main()
