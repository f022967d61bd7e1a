"""Work that calls back as it goes, as an iterator that a page can show."""

import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from queue import Queue
from typing import Any


class _ClosedError(Exception):
    """Nobody listens any more."""


def stepwise(work: Callable[[Callable[[Any], None]], Any]) -> Iterator[Any]:
    """What ``work(tell)`` tells while it runs, and what it returns at the end.

    It runs in a thread of its own, under this one's context; where it fails the iterator raises the
    same. An iterator that is closed waits until it has ended, at the next time that it tells: what
    it uses is free then.
    """
    events: Queue[tuple[str, Any]] = Queue()
    closed = threading.Event()

    def tell(event: Any) -> None:
        if closed.is_set():
            raise _ClosedError
        events.put(("told", event))

    def run() -> None:
        try:
            events.put(("returned", work(tell)))
        except BaseException as error:
            events.put(("raised", error))

    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
    thread.start()
    try:
        while True:
            kind, value = events.get()
            if kind == "raised":
                raise value
            yield value
            if kind == "returned":
                return
    finally:
        closed.set()
        thread.join()
