"""Settings that must stand before torch is loaded and before other processes are started."""

import os
import signal

# Idle OpenMP threads that spin take the cores from the encoder and from the other processes of a test run.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Where several tests share the cores, threads of a team would mostly wait for those of it that do not run.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("refilm", deadline=None)
hypothesis.settings.load_profile("refilm")
# A run in the background of a shell ignores Ctrl-C, and so would the commands that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--accept-golden", action="store_true", help="keep results that moved, in tests/golden")


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """`media(name)`: the Media of that name in media.CLIPS, written once a session."""
    from media import CLIPS, write

    folder, written = tmp_path_factory.mktemp("media"), {}

    def get(name):
        if name not in written:
            written[name] = write(folder / f"{name}{CLIPS[name].suffix}", CLIPS[name])
        return written[name]

    return get


@pytest.fixture(scope="session")
def broken(tmp_path_factory):
    """`broken(name)`: the path of a file that is not a whole video, by its name in media.BROKEN."""
    from media import BROKEN

    folder, written = tmp_path_factory.mktemp("broken"), {}

    def get(name):
        if name not in written:
            written[name] = BROKEN[name](folder)
        return written[name]

    return get


@pytest.fixture
def restorers(tmp_path_factory, monkeypatch):
    """The models of restorers.py stand in the table, and are the defaults of their tasks."""
    from restorers import RESTORERS, row, write_results

    from refilm.models import MODELS, defaults

    results = write_results(tmp_path_factory.mktemp("results"))
    monkeypatch.setattr(defaults, "results_folder", lambda: results)
    for name, build in RESTORERS.items():
        monkeypatch.setitem(MODELS, name, row(build))
