"""Serves the page, from one command until it is stopped."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn

from refilm.errors import JobError, RefilmError, Stopped
from refilm.web.app import create_app
from refilm.web.settings import Settings

# Seconds for answers that are on their way when the server is stopped.
_LAST_ANSWERS = 2


class _Server(uvicorn.Server):
    """A server that calls `on_exit` when it is told to stop, before it waits for the answers that are on their way."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_exit()
        super().handle_exit(sig, frame)


def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C, which raises Stopped. `tell` is called with its address.

    Raises RefilmError if the port is taken, and JobError if another server uses the work folder.
    """
    token = settings.token or (secrets.token_urlsafe(24) if settings.needs_token else None)
    with _socket(settings) as listening, _held(settings.work):
        app = create_app(settings, token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would hold the token
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
        with suppress(KeyboardInterrupt):
            tell(_address(settings, listening.getsockname()[1]) + ("" if token is None else f"?token={token}"))
            _Server(config, app.state.site.end_streams).run(sockets=[listening])
    raise Stopped("stopped; unfinished jobs go on when refilm web is started again with this work folder")


def _socket(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise RefilmError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror}; give another --host or --port"
        ) from error


def _address(settings: Settings, port: int) -> str:
    host = settings.shown_host
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


@contextmanager
def _held(work: Path) -> Iterator[None]:
    """A context in which the work folder exists, and no other server uses it."""
    try:
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JobError(f"{work}: cannot write here: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise JobError(f"{work}: another refilm web uses this folder; stop it, or give another --work") from None
    finally:
        os.close(lock)
