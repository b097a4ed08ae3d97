"""The names of work folder and report, and the step in which a finished result gets its final name."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

from refilm.errors import JobError
from refilm.jobs.work_folder import sync
from refilm.video.picture_sequence import PictureSequence

# Errors of file systems without hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def work_folder(base: Path) -> Path:
    """The work folder, beside the output, so that the final rename stays within a file system. `base`: see Sink."""
    return _beside(base, ".refilm")


def report_path(base: Path) -> Path:
    """The report, beside the output. `base`: see Sink."""
    return _beside(base, ".json")


def _beside(base: Path, ending: str) -> Path:
    """`base` with a further ending. A name that would be too long is shortened, and marked by a digest of the whole."""
    if not base.name:  # ".", or the root of all folders
        raise JobError(f"{base}: is a folder; give the name of a file in it")
    name = os.fsencode(base.name)
    longest = os.pathconf(base.parent, "PC_NAME_MAX") if base.parent.is_dir() else 255
    if len(name) + len(ending) <= longest:
        return base.with_name(base.name + ending)
    mark = hashlib.sha256(name).hexdigest()[:8]
    cut = name[: longest - len(ending) - len(mark) - 1].decode(errors="ignore")
    return base.with_name(f"{cut}-{mark}{ending}")


def place_file(joined: Path, target: Path, overwrite: bool) -> None:
    """Give the finished file its final name, in one step. JobError if that exists, unless `overwrite`."""
    if overwrite:
        os.replace(joined, target)
    else:
        taken = JobError(f"{target}: exists; choose another name, or add --overwrite")
        try:
            os.link(joined, target)
        except FileExistsError:
            raise taken from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if target.exists():
                raise taken from None
            os.replace(joined, target)
        else:
            joined.unlink()
    sync(target.parent)


def place_pictures(joined: Path, target: Path) -> None:
    """Move the finished pictures into their final folder: in one step if that is new or empty, else one by one.

    Pictures of the same pattern in that folder are deleted first.
    """
    final = target.parent.resolve()
    for old in PictureSequence(target).files():
        old.unlink()
    if not final.exists() or not any(final.iterdir()):
        try:
            os.replace(joined, final)
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EBUSY):  # the folder is the root of another file system
                raise
    for picture in sorted(joined.iterdir()):
        try:
            os.replace(picture, final / picture.name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            unfinished = final / f"{picture.name}.part"
            shutil.copyfile(picture, unfinished)
            sync(unfinished)
            os.replace(unfinished, final / picture.name)
    shutil.rmtree(joined)
