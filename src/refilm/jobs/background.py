"""Running an iterator in a thread of its own, a bounded number of items ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def running_ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """The same items, made by a thread while the caller works on earlier ones; at most `depth` wait.

    FFmpeg and torch let go of the interpreter lock, so decoding, computing and encoding overlap. An exception of
    `items` is raised where the next item is asked for. Leaving the block ends the thread.
    """
    # an item, or the exception that came instead of it; None at the end
    waiting: queue.Queue[tuple[T, None] | tuple[None, BaseException] | None] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: tuple[T, None] | tuple[None, BaseException] | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put(None)
        except BaseException as error:  # handed to the caller, whatever it is
            put((None, error))

    def results() -> Iterator[T]:
        while (taken := waiting.get()) is not None:
            item, error = taken
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # mypy does not pair the halves of the tuple

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        stopped.set()
        thread.join()
