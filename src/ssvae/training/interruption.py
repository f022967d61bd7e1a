"""Signals that ask a run to stop: it ends its step, saves, and leaves."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class InterruptedRun(Exception):  # noqa: N818 - no error
    """A run that a signal stopped after it had saved."""

    def __init__(self, number: int, step: int):
        super().__init__(number, step)
        self.number, self.step = number, step

    def __str__(self) -> str:
        """What happened, and what to do."""
        name = signal.Signals(self.number).name
        return f"stopped by {name} after step {self.step}; the same command goes on from there"


class Interruption:
    """Which signal came to this process; see :func:`ssvae.training.step.update` for the others."""

    def __init__(self) -> None:
        self.number = 0


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Note SIGTERM and Ctrl-C instead of dying of them; a second Ctrl-C acts as ever.

    A second SIGTERM does not: who stops a tree of processes sends it to launcher and workers, and
    the launcher sends it on.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption  # signals reach the main thread alone
        return

    def note(number: int, frame: FrameType | None) -> None:
        if interruption.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        interruption.number = number

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
