"""What runs when, and what becomes of a job whose process stops or fails. The processes are played."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from refilm.jobs.batch import Outcome
from refilm.jobs.work_folder import WorkFolder
from refilm.web import runner as module
from refilm.web.queue import Job, Queue, State, Step
from refilm.web.runner import Runner
from refilm.web.store import open_store

DONE = {"event": "done", "report": {"output": "/results/a"}}


class Played:
    """Stands for refilm.jobs.batch.Children: a process that ends when the test says so, or is stopped."""

    running: dict[str, Played] = {}  # noqa: RUF012  # by the path of the output; emptied by each test

    def __init__(self, verb, options, jobs, listener):
        self.listener, self.end, self.stopped = listener, threading.Event(), False
        self.outcome = "done"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def stop(self, how):
        self.stopped = True
        self.end.set()

    def run(self, source, output):
        Played.running[str(output)] = self
        assert self.end.wait(20)
        del Played.running[str(output)]
        return Outcome(str(source), str(output), "stopped" if self.stopped else self.outcome, 0, message="no film")

    def says(self, **event):
        self.listener.event(None, None, event)

    def ends(self, outcome="done"):
        self.outcome = outcome
        self.end.set()


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Children", Played)
    Played.running.clear()
    store = open_store(tmp_path / "queue.sqlite")
    store.execute("INSERT INTO films VALUES ('film', 'a.mp4', '/films/a.mp4', 0, '{}', NULL)")
    return Queue(store)


def add(queue, tmp_path, *names, steps=("out",), is_preview=False):
    for name in names:
        made = tuple(Step("denoise", "/films/a.mp4", str(tmp_path / name / step), {}) for step in steps)
        queue.add(Job(name, "film", "denoise", "denoise", is_preview, made))


async def until(fits):
    for _ in range(2000):
        if fits():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to that")


def process(tmp_path, name, step="out"):
    return Played.running.get(str(tmp_path / name / step))


def played(queue, script, **options):
    """Run `script(runner, states)` within an event loop; `states()` are those of all jobs."""

    async def play():
        runner = Runner(queue, lambda job: None, **options)
        runner.look()
        await script(runner, lambda: {job.id: job.state for job in queue.all()})
        await runner.stop()

    asyncio.run(play())


def test_one_job_runs_at_a_time_in_order_and_a_preview_beside_it(queue, tmp_path):
    add(queue, tmp_path, "a", "b")
    add(queue, tmp_path, "p", "q", is_preview=True)

    async def script(runner, states):
        await until(lambda: set(Played.running) == {str(tmp_path / "a/out"), str(tmp_path / "p/out")})
        assert states() == {"a": State.RUNNING, "b": State.WAITING, "p": State.RUNNING, "q": State.WAITING}
        process(tmp_path, "a").ends()
        await until(lambda: process(tmp_path, "b"))
        assert states() == {"a": State.DONE, "b": State.RUNNING, "p": State.RUNNING, "q": State.WAITING}

    played(queue, script)


def test_so_many_jobs_run_at_a_time_as_are_wanted(queue, tmp_path):
    add(queue, tmp_path, "a", "b", "c")

    async def script(runner, states):
        await until(lambda: len(Played.running) == 2)
        assert list(states().values()) == [State.RUNNING, State.RUNNING, State.WAITING]

    played(queue, script, jobs=2)


def test_what_a_process_says_is_kept(queue, tmp_path):
    add(queue, tmp_path, "a")

    async def script(runner, states):
        await until(lambda: process(tmp_path, "a"))
        for event in (
            {"event": "warning", "message": "dark"},
            {"event": "progress", "frames": 3},
            {"event": "warning", "message": "late"},
        ):
            process(tmp_path, "a").says(**event)
        await until(lambda: len(queue.find("a").warnings) == 2)
        assert (queue.find("a").warnings, queue.find("a").progress["frames"]) == (("dark", "late"), 3)
        process(tmp_path, "a").says(**DONE)
        process(tmp_path, "a").ends()
        await until(lambda: states()["a"] == State.DONE)
        assert queue.find("a").report == DONE["report"]

    played(queue, script)


def test_a_failed_job_says_why_makes_room_and_can_be_tried_again(queue, tmp_path):
    add(queue, tmp_path, "a", "b")

    async def script(runner, states):
        await until(lambda: process(tmp_path, "a"))
        process(tmp_path, "a").ends("failed")
        await until(lambda: process(tmp_path, "b"))
        assert (states()["a"], queue.find("a").message) == (State.FAILED, "no film")
        runner.resume(queue.find("a"))
        assert (states()["a"], queue.find("a").message) == (State.WAITING, None)
        process(tmp_path, "b").ends()
        await until(lambda: process(tmp_path, "a"))

    played(queue, script)


def test_a_paused_job_makes_room_and_goes_on_by_the_same_call(queue, tmp_path):
    add(queue, tmp_path, "a", "b")
    steps = queue.find("a").steps

    async def script(runner, states):
        await until(lambda: process(tmp_path, "a"))
        runner.pause(queue.find("a"))
        assert states()["a"] == State.PAUSING
        await until(lambda: process(tmp_path, "b"))
        assert states()["a"] == State.PAUSED
        runner.resume(queue.find("a"))
        runner.pause(queue.find("b"))
        await until(lambda: process(tmp_path, "a"))
        assert queue.find("a").steps == steps

    played(queue, script)


def test_a_waiting_job_is_paused_at_once(queue, tmp_path):
    add(queue, tmp_path, "a", "b")

    async def script(runner, states):
        runner.pause(queue.find("b"))
        assert states()["b"] == State.PAUSED
        await until(lambda: process(tmp_path, "a"))

    played(queue, script)


def test_steps_run_one_after_another_and_a_stop_ends_them(queue, tmp_path):
    add(queue, tmp_path, "p", steps=("before", "after"), is_preview=True)

    async def script(runner, states):
        await until(lambda: process(tmp_path, "p", "before"))
        assert process(tmp_path, "p", "after") is None
        process(tmp_path, "p", "before").ends()
        await until(lambda: process(tmp_path, "p", "after"))
        runner.pause(queue.find("p"))
        await until(lambda: states()["p"] == State.PAUSED)

    played(queue, script)


def test_a_removed_job_is_gone_when_its_process_has_ended(queue, tmp_path):
    add(queue, tmp_path, "a", "b")

    async def script(runner, states):
        await until(lambda: process(tmp_path, "a"))
        await runner.remove(queue.find("a"))
        assert process(tmp_path, "a") is None
        assert "a" not in states()
        await until(lambda: process(tmp_path, "b"))

    played(queue, script)


def test_when_the_server_ends_its_jobs_stop_and_stay_marked_to_go_on(queue, tmp_path):
    add(queue, tmp_path, "a", "b")

    async def script(runner, states):
        await until(lambda: process(tmp_path, "a"))

    played(queue, script)
    assert not Played.running
    assert [job.state for job in queue.all()] == [State.RUNNING, State.WAITING]
    queue.recover()

    async def again(runner, states):
        await until(lambda: process(tmp_path, "a"))

    played(queue, again)


def test_a_job_waits_for_the_process_that_a_killed_server_has_left(queue, tmp_path):
    add(queue, tmp_path, "a")
    work = tmp_path / "a" / "out.refilm"
    work.parent.mkdir()

    async def script(runner, states):
        await asyncio.sleep(0.5)
        assert process(tmp_path, "a") is None

    with WorkFolder(work).held():
        played(queue, script)
    queue.recover()

    async def again(runner, states):
        await until(lambda: process(tmp_path, "a"))

    played(queue, again)


def test_an_enhancement_that_makes_nothing_says_why(queue, tmp_path):
    add(queue, tmp_path, "a")

    async def script(runner, states):
        await until(lambda: process(tmp_path, "a"))
        process(tmp_path, "a").says(event="analysis", line="looks clean: nothing to do")
        process(tmp_path, "a").ends()
        await until(lambda: states()["a"] == State.DONE)
        found = queue.find("a")
        assert (found.message, found.result) == ("looks clean: nothing to do", None)

    played(queue, script)


def test_a_result_is_there_when_the_job_is_done_and_the_file_not_deleted(tmp_path):
    made = tmp_path / "a.mp4"
    job = Job("a", "film", "denoise", "denoise", False, (), State.DONE, report={"output": str(made)})
    assert job.result is None
    made.touch()
    assert job.result == made
    assert replace(job, state=State.RUNNING).result is None
