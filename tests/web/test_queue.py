"""The queue survives its process, and hands out jobs in order."""

from dataclasses import replace

import pytest

from refilm.errors import JobError
from refilm.web.queue import Job, Queue, State, Step, titled
from refilm.web.store import open_store


def job(name, **fields):
    step = Step("upscale", "/films/a.mp4", f"/results/{name}/a.mkv", {"scale": 2, "fps": None})
    return replace(Job(name, "film", "upscale", "upscale, scale 2", False, (step,)), **fields)


@pytest.fixture
def open_again(tmp_path):
    """Opens the same queue, as the server does at each start."""

    def open_():
        store = open_store(tmp_path / "queue.sqlite")
        store.execute("INSERT OR IGNORE INTO films VALUES ('film', 'a.mp4', '/films/a.mp4', 0, '{}', NULL)")
        return Queue(store)

    return open_


def test_jobs_are_there_after_a_start_as_they_were(open_again):
    added = [job("a"), job("b", is_preview=True)]
    queue = open_again()
    for each in added:
        queue.add(each)
    queue.change("b", state=State.DONE, report={"frames_out": 3}, warnings=("dark",), progress={"frames": 3})
    done = replace(added[1], state=State.DONE, report={"frames_out": 3}, warnings=("dark",), progress={"frames": 3})
    assert open_again().all() == [added[0], done]


def test_what_ran_waits_after_a_start_and_what_was_to_pause_is_paused(open_again):
    queue = open_again()
    for state in State:
        queue.add(job(state.value, state=state))
    queue = open_again()
    queue.recover()
    expected = {state.value: state for state in State} | {"running": State.WAITING, "pausing": State.PAUSED}
    assert {each.id: each.state for each in queue.all()} == expected


def test_the_oldest_waiting_job_is_next_and_previews_have_a_row_of_their_own(open_again):
    queue = open_again()
    for name, preview in (("a", False), ("b", True), ("c", False)):
        queue.add(job(name, is_preview=preview))
    queue.change("a", state=State.RUNNING)
    assert queue.next_waiting(is_preview=False).id == "c"
    assert queue.next_waiting(is_preview=True).id == "b"
    queue.change("a", state=State.WAITING)  # resumed: back to its place
    assert queue.next_waiting(is_preview=False).id == "a"


def test_a_job_that_was_removed_is_gone(open_again):
    queue = open_again()
    queue.add(job("a"))
    queue.remove("a")
    assert (queue.find("a"), queue.change("a", state=State.DONE), queue.next_waiting(False)) == (None, None, None)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "queue.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(JobError, match="is not a queue of refilm web"):
        open_store(tmp_path / "queue.sqlite")
    store = open_store(tmp_path / "later.sqlite")
    store.execute("PRAGMA user_version = 99")
    with pytest.raises(JobError, match="another version"):
        open_store(tmp_path / "later.sqlite")


def test_a_title_names_what_differs_from_the_defaults():
    changed = [("scale", 1), ("shots", True), ("scene cuts", False), ("for", "browser"), ("strength", 0.0)]
    assert titled("upscale", changed) == "upscale, scale 1, shots, no scene cuts, for browser, strength 0.0"
