"""Films that are named or uploaded: where from, how large, and what is told of them."""

import os

import pytest
from starlette.testclient import TestClient

from refilm.web.app import create_app
from refilm.web.films import safe_name
from refilm.web.settings import Settings


def add(browser, path):
    return browser.post("/api/films", json={"path": str(path)})


def test_a_film_in_a_served_folder_is_added_once(browser, folder):
    first = add(browser, folder / "film.mp4").json()
    assert (first["name"], first["facts"]["width"], first["findings"]) == ("film.mp4", 96, None)
    assert add(browser, folder / "." / "film.mp4").json()["id"] == first["id"]
    assert [film["id"] for film in browser.get("/api/films").json()] == [first["id"]]
    assert browser.get("/api/about").json()["listed"] == [str(folder / "film.mp4")]


def test_no_path_leads_out_of_the_served_folders(browser, folder, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes((folder / "film.mp4").read_bytes())
    (folder / "link.mp4").symlink_to(secret)
    (tmp_path / "served-too").mkdir()
    beside = tmp_path / "served-too" / "film.mp4"
    beside.write_bytes(secret.read_bytes())
    for path in (secret, folder / ".." / "secret.mp4", folder / "link.mp4", beside, "secret.mp4", "/etc/passwd", "\0"):
        answer = add(browser, path)
        assert answer.status_code == 400
        assert f"no such film in {folder}" in answer.json()["message"]
    # whether a file is there cannot be found out
    assert add(browser, tmp_path / "none.mp4").json()["message"].partition(": ")[2] == f"no such film in {folder}"


def test_without_a_folder_no_path_is_taken(tmp_path, media):
    with TestClient(create_app(Settings(work=tmp_path / "work"), None), base_url="http://localhost") as browser:
        assert "--folder" in add(browser, media("cfr-24").path).json()["message"]


def test_what_is_no_film_is_refused_in_one_line(browser, folder, broken):
    (folder / "notes.txt").write_text("notes")
    (folder / "sound.mp4").write_bytes(broken("audio-only").read_bytes())
    assert "wanted a film" in add(browser, folder / "notes.txt").json()["message"]
    assert "no video stream" in add(browser, folder / "sound.mp4").json()["message"]
    assert add(browser, folder).status_code == 400
    for body in (b"", b"[]", b"{", b'{"path": 3}', b'{"path": " "}'):
        assert "wanted" in browser.post("/api/films", content=body).json()["message"]
    assert browser.post("/api/films", content=b" " * 200_000).status_code == 413


def test_an_upload_is_kept_in_the_work_folder_and_can_be_played(browser, folder, tmp_path):
    content = (folder / "film.mp4").read_bytes()
    film = browser.post("/api/uploads", params={"name": "../../My holiday.MP4"}, content=content).json()
    assert film["name"] == "My holiday.MP4"
    (kept,) = (tmp_path / "work" / "uploads").rglob("*.mp4")
    assert kept.read_bytes() == content
    played = browser.get(f"/api/films/{film['id']}/media", headers={"Range": "bytes=10-19"})
    assert (played.status_code, played.content, played.headers["content-type"]) == (206, content[10:20], "video/mp4")
    assert browser.delete(f"/api/films/{film['id']}").status_code == 200
    assert not kept.exists()


def test_a_named_film_that_is_removed_stays_on_the_disk(browser, folder):
    film = add(browser, folder / "film.mp4").json()
    assert browser.delete(f"/api/films/{film['id']}").status_code == 200
    assert (folder / "film.mp4").exists()


def test_uploads_that_are_too_large_or_no_films_leave_nothing(tmp_path, media):
    content = media("cfr-24").path.read_bytes()
    settings = Settings(work=tmp_path / "work", max_upload=(len(content) - 1) / 1e9)
    with TestClient(create_app(settings, None), base_url="http://localhost") as browser:

        def in_chunks():  # without a declared length
            yield content[:1000]
            yield content[1000:]

        for name, body, message in (
            ("film.mp4", content, "--max-upload"),
            ("film.mp4", in_chunks(), "--max-upload"),
            ("film.mp4", b"no film", "film.mp4: cannot be read"),
            ("page.html", b"<script>", "wanted a film"),
            ("", b"", "wanted a film"),
        ):
            answer = browser.post("/api/uploads", params={"name": name}, content=body)
            assert answer.status_code == 400
            assert message in answer.json()["message"]
            assert str(tmp_path) not in answer.json()["message"]
    assert os.listdir(tmp_path / "work" / "uploads") == []


def test_an_upload_that_a_kill_has_cut_off_is_cleared_at_the_next_start(tmp_path):
    left = tmp_path / "work" / "uploads" / "0123"
    left.mkdir(parents=True)
    with TestClient(create_app(Settings(work=tmp_path / "work"), None), base_url="http://localhost"):
        assert not left.exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("film.mp4", "film.mp4"),
        ("C:\\films\\film.mp4", "film.mp4"),
        ("/etc/../film.mp4", "film.mp4"),
        ("--restart.mp4", "restart.mp4"),
        ("..", "film"),
        ("frames%06d*.mp4", "frames_06d_.mp4"),
        ("a\nb\0.mp4", "a_b_.mp4"),
        ("Ünï 電影.mkv", "Ünï 電影.mkv"),
        ("x" * 300 + ".mp4", "x" * 100 + ".mp4"),
    ],
)
def test_names_of_uploads_become_names_of_files(given, kept):
    assert safe_name(given) == kept
