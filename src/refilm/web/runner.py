"""Runs the jobs of the queue: each step in a process of its own, so that its crash does not end the server.

A job is paused by stopping its process, which keeps the finished pieces, and resumed by the same call again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from refilm.jobs.batch import Children, Outcome
from refilm.jobs.work_folder import is_locked
from refilm.web.queue import Job, Queue, State, Step

_POLL_SECONDS = 0.2
# What a job that is told to stop may take for that when the server ends; its process is killed then.
_STOP_SECONDS = 30.0


class _Listener:
    """Hands on the events of a process. See refilm.jobs.batch.Listener."""

    def __init__(self, heard: Callable[[dict[str, Any]], None]) -> None:
        self._heard = heard

    def event(self, source: Path, output: Path, event: dict[str, Any]) -> None:
        self._heard(event)

    def ended(self, source: Path) -> None:
        pass


class Runner:
    """Works through the queue, within the event loop.

    tell   is called with each job that has changed
    jobs   number of jobs at a time; previews are one more, so that they need not wait for a job of hours
    """

    def __init__(self, queue: Queue, tell: Callable[[Job], None], jobs: int = 1) -> None:
        self._queue, self._tell, self._slots = queue, tell, {False: jobs, True: 1}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._previews: set[str] = set()
        self._children: dict[str, Children] = {}
        self._threads = ThreadPoolExecutor(sum(self._slots.values()))  # each waits for a process
        self._ended = False

    def look(self) -> None:
        """Start what waits, as far as there is room. To be called after a job was added, resumed or has ended."""
        for is_preview, slots in self._slots.items():
            while not self._ended and self._running(is_preview) < slots:
                job = self._queue.next_waiting(is_preview)
                if job is None:
                    break
                self._change(job.id, state=State.RUNNING, message=None, warnings=(), progress=None)
                if is_preview:
                    self._previews.add(job.id)
                self._tasks[job.id] = asyncio.create_task(self._work(job))

    def pause(self, job: Job) -> None:
        """Stop a job that runs or waits. It is paused at once, or when its process has ended."""
        running = job.id in self._tasks
        self._change(job.id, state=State.PAUSING if running else State.PAUSED)
        self._stop_process(job.id)

    def resume(self, job: Job) -> None:
        """Put a job that was paused, or has failed, back to its place in the queue."""
        self._change(job.id, state=State.WAITING, message=None)
        self.look()

    async def remove(self, job: Job) -> None:
        """Take a job out of the queue, and wait until its process has ended."""
        self._queue.remove(job.id)
        self._stop_process(job.id)
        if (task := self._tasks.get(job.id)) is not None:
            await asyncio.wait([task])

    async def stop(self) -> None:
        """Stop all processes, at the end of the server. Their jobs stay marked as running, for the next start."""
        self._ended = True
        for job_id in self._tasks:
            self._stop_process(job_id)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=_STOP_SECONDS)
        for children in self._children.values():
            children.stop(signal.SIGKILL)

    def _running(self, is_preview: bool) -> int:
        return len(self._previews) if is_preview else len(self._tasks) - len(self._previews)

    def _stop_process(self, job_id: str) -> None:
        if (children := self._children.get(job_id)) is not None:
            # not SIGINT: a process that was started in the background of a shell would ignore it
            children.stop(signal.SIGTERM)

    async def _work(self, job: Job) -> None:
        try:
            await self._do_steps(job)
        except Exception as error:
            message = f"this is a fault of refilm's, please report it: {error!r}"
            self._change(job.id, state=State.FAILED, message=message)
            raise
        finally:
            self._tasks.pop(job.id, None)
            self._previews.discard(job.id)
            self.look()

    async def _do_steps(self, job: Job) -> None:
        for step in job.steps:
            await self._wait_for_earlier_process(job.id, Path(step.output).parent)
            if not self._goes_on(job.id):
                break
            outcome = await self._do(job.id, step)
            if outcome.state == "failed":
                self._change(job.id, state=State.FAILED, message=outcome.message)
                return
            if outcome.state == "stopped":
                break
        else:
            self._change(job.id, state=State.DONE)
            return
        if not self._ended:
            self._change(job.id, state=State.PAUSED)

    def _goes_on(self, job_id: str) -> bool:
        job = self._queue.find(job_id)
        return not self._ended and job is not None and job.state == State.RUNNING

    async def _do(self, job_id: str, step: Step) -> Outcome:
        loop = asyncio.get_running_loop()

        def heard(event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(self._hear, job_id, event)

        with Children(step.verb, step.options, self._slots[False], _Listener(heard)) as children:
            self._children[job_id] = children
            try:
                run = partial(children.run, Path(step.source), Path(step.output))
                return await loop.run_in_executor(self._threads, run)
            finally:
                del self._children[job_id]

    async def _wait_for_earlier_process(self, job_id: str, folder: Path) -> None:
        """Wait while a process works in the folder that the killed server has started.

        It ends when it next prints, as nobody reads that, and keeps what it has done.
        """
        while self._goes_on(job_id) and any(is_locked(work) for work in folder.glob("*.refilm")):
            await asyncio.sleep(_POLL_SECONDS)

    def _hear(self, job_id: str, event: dict[str, Any]) -> None:
        """Note an event of a running job. docs/events.md lists them."""
        job, kind = self._queue.find(job_id), event["event"]
        if job is None:
            return
        if kind in ("start", "progress"):
            self._change(job_id, progress=event)
        elif kind == "warning":
            self._change(job_id, warnings=(*job.warnings, event["message"]))
        elif kind == "analysis":  # of an automatic enhancement; if it makes nothing, this says why
            self._change(job_id, message=event["line"])
        elif kind == "done":
            self._change(job_id, report=event["report"], message=None)

    def _change(self, job_id: str, **fields: Any) -> None:
        job = self._queue.change(job_id, **fields)
        if job is not None:
            self._tell(job)
