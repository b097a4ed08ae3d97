"""What browsers are told of jobs, and what there is not is said to be not there."""

import asyncio
import json

from refilm.web.app import Site
from refilm.web.queue import Job, State
from refilm.web.settings import Settings


def a_job(name, **fields):
    return Job(name, "film", "denoise", "denoise", False, (), **fields)


def content(message):
    """(event, data) of a server-sent event."""
    lines = dict(line.split(": ", 1) for line in message.strip().splitlines())
    return lines["event"], json.loads(lines["data"])


def test_a_browser_is_told_all_jobs_and_then_each_that_changes(tmp_path):
    async def listen():
        site = Site(Settings(work=tmp_path / "work"))
        messages = site.messages()
        assert content(await anext(messages)) == ("jobs", [])
        site.tell(a_job("a", state=State.RUNNING))
        site.tell_removed(a_job("b"))
        event, told = content(await anext(messages))
        assert (event, told["id"], told["state"], told["result"]) == ("job", "a", "running", None)
        assert content(await anext(messages)) == ("removed", "b")

    asyncio.run(listen())


def test_a_browser_that_does_not_read_has_to_connect_again(tmp_path):
    async def sleep_through():
        site = Site(Settings(work=tmp_path / "work"))
        messages = site.messages()
        await anext(messages)
        for _ in range(2000):
            site.tell(a_job("a"))
        assert [message async for message in messages] == []  # the stream has ended

    asyncio.run(sleep_through())


def test_what_there_is_not_is_not_found(browser, folder):
    film = browser.post("/api/films", json={"path": str(folder / "film.mp4")}).json()["id"]
    assert browser.post("/api/jobs", json={"film": "none", "verb": "denoise"}).status_code == 404
    for path in ("films/none/media", "jobs/none/result", "jobs/none/timeline", "jobs/none/boxes?from=0&to=1", "none"):
        assert browser.get(f"/api/{path}").status_code == 404
    for path in ("films/none/findings", "jobs/none/pause", "jobs/none/resume"):
        assert browser.post(f"/api/{path}").status_code == 404
    (folder / "film.mp4").unlink()
    assert "is not there any more" in browser.get(f"/api/films/{film}/media").json()["message"]


def test_a_wish_that_makes_no_sense_adds_no_job(browser, folder, tmp_path):
    film = browser.post("/api/films", json={"path": str(folder / "film.mp4")}).json()["id"]
    answer = browser.post("/api/jobs", json={"film": film, "verb": "upscale", "options": {"scale": 0}})
    assert (answer.status_code, answer.json()) == (400, {"message": "scale must be at least 1, got 0"})
    assert not list((tmp_path / "work" / "results").iterdir())


def test_what_a_film_shows_is_looked_for_once_and_kept(browser, folder):
    film = browser.post("/api/films", json={"path": str(folder / "film.mp4")}).json()["id"]
    found = browser.post(f"/api/films/{film}/findings").json()["findings"]
    assert found["frames_seen"] > 0
    assert found["wanted"]["upscale"] == 4  # the film is small
    (folder / "film.mp4").unlink()  # it cannot be looked at again
    assert browser.post(f"/api/films/{film}/findings").json()["findings"] == found
    assert browser.get("/api/films").json()[0]["findings"] == found
