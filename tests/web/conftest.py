"""A site within the test's own process, and a film for it."""

import pytest
from starlette.testclient import TestClient

from refilm.web.app import create_app
from refilm.web.settings import Settings


@pytest.fixture
def folder(tmp_path, media):
    """A folder of films that the server is told to serve."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "film.mp4").write_bytes(media("cfr-24").path.read_bytes())
    return folder


@pytest.fixture
def browser(tmp_path, folder):
    """A client of a site that serves `folder`."""
    settings = Settings(folder=(folder,), work=tmp_path / "work")
    with TestClient(create_app(settings, token=None), base_url="http://127.0.0.1:8000") as client:
        yield client
