"""Turns at the models, which one piece of work at a time makes use of.

Jobs are cut into pieces, and each piece waits behind those that others asked for before: one with a
long film is passed by those with short ones, and equal ones end in the order in which they came.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

AT_ONCE = 20  # jobs; who comes after is told so
LOOK = 0.5  # seconds after which a job that waits tells its place again

T = TypeVar("T")
Shown = TypeVar("Shown")


class Turns:
    """The jobs that want a piece of work done, the one whose turn it is first."""

    def __init__(self) -> None:
        self._asked: deque[Job] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def job(self) -> Iterator["Job"]:
        """A job, whose turn ends with it."""
        job = Job(self._asked, self._changed)
        try:
            yield job
        finally:
            job.leave()


class Job:
    """Somebody's work, piece by piece."""

    def __init__(self, asked: deque["Job"], changed: threading.Condition):
        self._asked, self._changed = asked, changed

    def run(
        self, pieces: Generator[None, None, T], show: Callable[[int], Shown]
    ) -> Generator[Shown, None, T]:
        """What the pieces return at the end, each done when it is its turn.

        It yields ``show(how many are before this job)`` while it waits, and ``show(0)`` behind each
        piece.
        """
        while True:
            yield from map(show, self.next_piece())
            try:
                next(pieces)
            except StopIteration as end:
                return end.value
            finally:
                self.leave()  # nobody waits for one whose page was closed here
            yield show(0)

    def next_piece(self) -> Iterator[int]:
        """Give way to those who wait, then wait: how many are before, again and again until it is
        its turn.
        """
        with self._changed:
            self.leave()
            self._asked.append(self)
        while before := self._before():
            yield before
            with self._changed:
                if self._asked[0] is not self:
                    self._changed.wait(LOOK)

    def leave(self) -> None:
        """It wants no turn any more."""
        with self._changed:
            if self in self._asked:
                self._asked.remove(self)
                self._changed.notify_all()

    def _before(self) -> int:
        with self._changed:
            return self._asked.index(self)


def waiting(before: int) -> str:
    """A place in the queue, in words."""
    return f"waiting, {before} before you"
