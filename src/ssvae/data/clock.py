"""Times of frames and packets as a film's clock should have told them: they rise, and begin near 0.

Joined files, recorders that restart and containers that know the order of decoding alone give times
that jump or fall. What FFmpeg's own programs do about it is done here.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Any, TypeVar

from ssvae.data.pyav import av

T = TypeVar("T")

DISCONTINUOUS = 0x0200  # FFmpeg's AVFMT_TS_DISCONT: clocks of this container may jump
LONGEST_GAP = 10.0  # seconds; a longer one is a jump, in containers whose clocks may
EARLIER = 0.1  # seconds before the time that is due: a jump back, in the same
ERROR = 30 * 3600.0  # seconds: a longer gap is a jump in every container
PERIODS = 3  # frames back: a jump back, in all others
DEEPEST = 16  # frames that decoding and showing may differ in order by
NUDGE = 0.25  # of a frame's period, for what comes no later than the frame before it


def may_jump(container: Any) -> bool:
    """Whether clocks of this kind of container may jump: MPEG-TS and the like."""
    return bool(container.format.flags & DISCONTINUOUS)


def beginning(container: Any) -> float:
    """The time at which a file begins, in seconds on its own clock: that of its earliest stream."""
    return (container.start_time or 0) / av.time_base


class Clock:
    """Makes times rise, one after the other.

    Args:
        period: seconds between two frames where nothing else is known.
        jumps: see :func:`may_jump`.
    """

    def __init__(self, period: float, jumps: bool):
        self.period, self.jumps = period, jumps
        self._offset = 0.0
        self._told: float | None = None  # the latest time by the clock
        self._last = 0.0  # the time that was given

    def rising(self, time: float, period: float | None = None) -> float:
        """``time`` if it is later than the last; else, and behind a jump, what follows the last.

        ``period`` is that of the frame before, where it has one of its own. After a jump all times
        are moved alike, so that what follows keeps its distances.
        """
        time += self._offset
        if self._told is None:
            self._told = self._last = time
            return time
        due = self._told + (period or self.period)
        if self.jumps:
            jumped = (time + EARLIER < due and time < self._told) or time > due + LONGEST_GAP
        else:
            jumped = time < self._told - PERIODS * self.period or time > due + ERROR
        if jumped:
            self._offset += due - time
            time = due
        self._told = max(self._told, time)
        self._last = time if time > self._last else self._last + NUDGE * self.period
        return self._last


def in_order_of_times(items: Iterable[tuple[float, T]]) -> Iterator[tuple[float, T]]:
    """The same items in their order, but with the times in theirs.

    Of frames in the order in which they are shown, from a container that has the times of decoding.
    """
    waiting, times = deque[T](), list[float]()
    for time, item in items:
        waiting.append(item)
        heappush(times, time)
        if len(waiting) > DEEPEST:
            yield heappop(times), waiting.popleft()
    while waiting:
        yield heappop(times), waiting.popleft()
