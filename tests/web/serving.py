"""The command `refilm web` in a process of its own, as users start it, and requests to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class Serving:
    """A running server. A context manager, which stops it."""

    def __init__(self, work: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "refilm.cli.main", "web", "--work", str(work), "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        assert said.startswith("open http"), said + self.process.stderr.read()
        self.address = said.removeprefix("open ").strip()

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)

    def kill(self) -> None:
        """End the server as a power cut would, without a chance to put anything in order."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(f"{self.address}api/{path}", data, method=method)) as answer:
                return json.load(answer)
        except HTTPError as error:
            return json.load(error)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, as a browser that connects is told."""
        with urlopen(f"{self.address}api/events") as events:
            return next(json.loads(line[6:]) for line in events if line.startswith(b"data: "))

    def wait_for(self, fits: Callable[[dict[str, Any]], bool], job: str, seconds: float = 300) -> dict[str, Any]:
        """The job when it first fits."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = next(each for each in self.jobs() if each["id"] == job)
            if fits(found):
                return found
            time.sleep(0.1)
        raise AssertionError(f"it is still so: {found}")
