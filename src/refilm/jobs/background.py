"""Running an iterator in a thread of its own, a bounded number of items ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def running_ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """A context manager for the same items, made by a thread while the caller works on earlier ones.

    FFmpeg and torch release the interpreter lock, so decoding, computing and encoding overlap. An exception of `items`
    is raised when the next item is requested. Leaving the block ends the thread.

    depth   number of items that may wait to be taken
    """
    # an item, or the exception that was raised instead; None at the end
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
        except BaseException as error:  # of any kind: the caller raises it
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


def told(run: Callable[[Callable[[T], None]], object], depth: int) -> Iterator[T]:
    """What a function tells, one by one, while a thread runs it: `run` is called with what it has to call.

    An exception of `run` is raised where the next item would come. When the iterator is closed, the next call of what
    `run` was given raises `Abandoned`, so that it ends.
    """
    waiting: queue.Queue[tuple[T, None] | tuple[None, BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: tuple[T, None] | tuple[None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise Abandoned

    def work() -> None:
        with suppress(Abandoned):
            try:
                run(lambda item: put((item, None)))
            except Abandoned:
                raise
            except BaseException as error:  # of any kind: the caller raises it
                put((None, error))
            else:
                put((None, None))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


class Abandoned(BaseException):
    """Nobody wants to know any more."""
