"""When an open video's frames are shown, and how long it is."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from ssvae.data.clock import Clock, beginning, in_order_of_times, may_jump
from ssvae.data.opened import NamedBytes, OpenVideo, VideoFile, container_of, name_of, opened
from ssvae.data.pyav import av

logger = logging.getLogger(__name__)

TELL_LENGTHS = {"mov", "avi", "gif", "apng", "image2"}
"""Containers whose word for a stream's length is taken; others tell that of the file, or guess."""
DECODING_ORDER = {"avi"}
"""Containers that have the times of decoding alone."""
FAR = 10**7  # seconds, beyond every film
STEP_BACK = 1.0  # seconds; each further one is twice as long
UNSURE = {"mpeg": 5.0}  # seconds after a seek in which FFmpeg's times may be a frame late
TAIL = 3.0  # seconds: more than decoding and showing differ in order by
SLACK = 1e-6  # seconds

Timed = tuple[float, "av.VideoFrame"]


def frame_rate(stream: Any) -> Fraction:
    """Frames a second, in the mean."""
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def shown_for(frame: av.VideoFrame) -> float:
    """Seconds for which a frame says that it is shown; 0 where it does not."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return 0.0


def timed_frames(video: OpenVideo, start: float = 0.0) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames from a key frame at or before ``start`` on, with their times in seconds from the
    file's beginning, which rise.
    """
    clock = Clock(float(1 / frame_rate(video.stream)), may_jump(video.container))
    stream, period, late = video.stream, None, None
    first = float((stream.start_time or 0) * stream.time_base) - beginning(video.container)
    # Where clocks jump, a time on them says nothing.
    whole = start <= first or (may_jump(video.container) and _span(video.file).jumps)
    for time, frame in _frames(video, True) if whole else _sought(video, start):
        late = max(0.0, -time) if late is None else late  # of a first frame before the beginning
        yield frame, clock.rising(time + late, period)
        period = shown_for(frame) or None


def _sought(video: OpenVideo, start: float) -> Iterator[Timed]:
    """The same by the file's own clock. Without an index FFmpeg may land late: then further back is
    tried, and at last the whole file is read.
    """
    container, stream = video.container, video.stream
    back = UNSURE.get(container.format.name, 0.0)
    while back <= start + 2 * STEP_BACK:
        at = beginning(container) + start - back
        try:
            container.seek(int(at / stream.time_base), stream=stream)
            frames = _frames(video)
            first = next(frames, None)
        except av.FFmpegError:
            logger.debug("%s does not seek to %g s", video.name, at)
            first, frames = None, iter(())
        if first is not None and first[0] <= start + SLACK:
            return chain([first], frames)
        back = 2 * back or STEP_BACK
    return _from_the_first(video)


def _from_the_first(video: OpenVideo) -> Iterator[Timed]:
    """Frames from the first on, of the file as it is opened anew."""
    with opened(video.file, channels=video.channels) as anew:
        yield from _frames(anew, from_the_first=True)


def _frames(video: OpenVideo, from_the_first: bool = False) -> Iterator[Timed]:
    """Frames from where the file stands."""
    stamped = _stamped(video, from_the_first)
    if video.container.format.name in DECODING_ORDER:
        delay = _delay(video)
        return in_order_of_times((time - delay, frame) for time, frame in stamped)
    return stamped


def _stamped(video: OpenVideo, from_the_first: bool) -> Iterator[Timed]:
    begin, stream = beginning(video.container), video.stream
    for index, frame in enumerate(video.decoded(from_the_first)):
        if frame.pts is None:  # raw streams carry no times
            frame.pts = round(index / (frame_rate(stream) * stream.time_base))
            frame.time_base = stream.time_base
        assert frame.time is not None
        yield frame.time - begin, frame


def _delay(video: OpenVideo) -> float:
    """Seconds by which the times of a file that has those of decoding are late: it is made up by
    FFmpeg.
    """
    with container_of(video.file) as container:
        first = next(container.demux(container.streams.video[0]))
        if first.pts is None or first.dts is None:
            return 0.0
        return float((first.pts - first.dts) * first.time_base)


def claimed_length(video: OpenVideo) -> float:
    """Seconds from the file's beginning to the end of its video, as the file says; 0 where it does
    not.
    """
    stream, container = video.stream, video.container
    if stream.duration and TELL_LENGTHS & set(container.format.name.split(",")):
        begin = float((stream.start_time or 0) * stream.time_base) - beginning(container)
        return begin + float(stream.duration * stream.time_base)
    # Matroska and Flash tell when the film ends by its own clock.
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if claimed := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tags.get("duration", "")):
        hours, minutes, seconds = map(float, claimed.groups())
        return 3600 * hours + 60 * minutes + seconds - beginning(container)
    alone = len(container.streams) == 1 and not may_jump(container)  # of which others are guesses
    if not (alone and container.duration):
        return 0.0
    return container.duration / av.time_base - beginning(container)


def length_of(file: VideoFile, video: OpenVideo) -> float:
    """Seconds from the file's beginning to the end of its last frame; 0 where that cannot be
    found.
    """
    stream, container = video.stream, video.container
    if TELL_LENGTHS & set(container.format.name.split(",")) and (claimed := claimed_length(video)):
        return claimed
    if container.format.name.endswith("_pipe"):  # a picture
        return float(1 / frame_rate(stream))
    return _span(file).length


@dataclass(frozen=True)
class Span:
    """How long a video is, in seconds, and whether its clock jumps."""

    length: float
    jumps: bool = False


def _span(file: VideoFile) -> Span:
    """What a look at a file's packets tells, which is had once."""
    if isinstance(file, NamedBytes):
        return _scanned(file)
    facts = Path(file).stat()
    return _scanned_once(str(file), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=2**20)
def _scanned_once(path: str, size: int, changed: int) -> Span:
    return _scanned(path)


def _scanned(file: VideoFile) -> Span:
    """By the last packets, or by all where nothing is found there, or clocks may jump."""
    with container_of(file) as container:
        begin = beginning(container)
        if may_jump(container):
            return _followed(container)
        last = _end_of_packets(container, FAR)
        if last is not None:
            again = _end_of_packets(container, last - TAIL)
            return Span(max(last, again or last) - begin)
    with container_of(file) as container:
        last = _end_of_packets(container, None)
        if last is not None:
            return Span(last - begin)
    logger.warning("the length of %s cannot be found: clips are its beginning", name_of(file))
    return Span(0.0)


def _followed(container: Any) -> Span:
    """By all packets, whose clock may jump: as :class:`Clock` makes their times rise."""
    stream, begin = container.streams.video[0], beginning(container)
    period, end, jumps = float(1 / frame_rate(stream)), 0.0, False
    clock = Clock(period, jumps=True)
    for packet in container.demux(stream):
        decoded = packet.pts if packet.dts is None else packet.dts
        if decoded is None:
            continue
        claimed = float(decoded * stream.time_base) - begin
        moved = clock.rising(claimed) - claimed
        jumps |= abs(moved) > period
        shown = decoded if packet.pts is None else packet.pts
        lasts = packet.duration or period / stream.time_base
        end = max(end, float((shown + lasts) * stream.time_base) - begin + moved)
    return Span(end, jumps)


def _end_of_packets(container: Any, since: float | None) -> float | None:
    """When the last of a file's frames ends by its own clock, from ``since`` on if that is
    given.
    """
    stream, ends = container.streams.video[0], list[int]()
    try:
        if since is not None:
            container.seek(int(since / stream.time_base), stream=stream)
        for packet in container.demux(stream):
            time = packet.dts if packet.pts is None else packet.pts
            ends += [] if time is None else [time + (packet.duration or 0)]
    except av.FFmpegError as error:
        logger.debug("%s: %s", container.name, error)
    return float(max(ends) * stream.time_base) if ends else None
