"""The sound of one file into another, copied where its container takes the codec, else encoded
anew.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from ssvae.data.clock import Clock, beginning, may_jump
from ssvae.data.opened import local
from ssvae.data.pyav import av

logger = logging.getLogger(__name__)

LAYOUTS = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
"""By the number of channels, as FFmpeg takes those that name no order."""


def sound_track(container: Any) -> Any:
    """The first sound track of an open file; None without one, or where nobody knows its codec."""
    if not container.streams.audio:
        return None
    track = container.streams.audio[0]
    if track.codec_context is None:
        logger.warning("the sound of %s is of an unknown codec and left out", container.name)
        return None
    return track


def sound_packets(
    file: str | Path | BytesIO, target: Any, suffix: str
) -> Iterator[tuple[Any, float]]:
    """Packets of the first sound track of ``file`` for the container ``target``, with their times
    in seconds.

    The first one that is asked for adds the stream. Where the container takes another codec than
    the track's, rates and channels that this codec has not are converted to the nearest that it
    has.
    """
    kept = isinstance(file, BytesIO)  # by read_sound, from the beginning of its film
    opened: Any = av.open(file if kept else local(file), metadata_errors="replace")
    with opened as source:
        begin = 0.0 if kept else beginning(source)
        track = sound_track(source)
        if track is None:
            return
        codec = track.codec_context.name
        if codec in target.supported_codecs and not _refused(codec, suffix):
            stream = target.add_stream_from_template(track)
            for packet, time in rising_packets(source, track, begin):
                packet.stream = stream
                yield packet, time
            return
        stream, layout = _encoder(target, track), _layout(track)
        for packet, _ in rising_packets(source, track, begin):
            for frame in packet.decode():
                ordered = frame if frame.layout.name in LAYOUTS else _named(frame, layout)
                yield from ((p, frame.time) for p in stream.encode(ordered))
        for frame in track.codec_context.decode(None):
            ordered = frame if frame.layout.name in LAYOUTS else _named(frame, layout)
            yield from ((p, frame.time) for p in stream.encode(ordered))
        yield from ((p, 0.0) for p in stream.encode())


def rising_packets(
    source: Any, track: Any, begin: float | None = None
) -> Iterator[tuple[Any, float]]:
    """A sound track's packets, with their times in seconds from the file's beginning, which rise.

    ``begin`` is that beginning by the file's own clock, where it is not the one that the file
    tells.
    """
    begin, base = beginning(source) if begin is None else begin, track.time_base
    period = (track.codec_context.frame_size or 1024) / (track.rate or 48_000)
    clock, before = Clock(period, may_jump(source)), None
    for packet in source.demux(track):
        if packet.dts is None:
            continue
        time = clock.rising(float(packet.dts * base) - begin, before)
        before = float(packet.duration * base) if packet.duration else None
        moved = math.floor(time / base + 0.5) - packet.dts
        packet.dts += moved
        if packet.pts is not None:
            packet.pts += moved
        yield packet, time


def _refused(codec: str, suffix: str) -> bool:
    """Whether a container lists a codec that it does not take, or that its players do not."""
    return (suffix == ".mov" and codec in ("opus", "flac")) or (
        suffix == ".mp4" and codec.startswith("pcm_")
    )


def _encoder(target: Any, track: Any) -> Any:
    """A stream of the container's own codec, at the track's rate and channels or the nearest it
    has.
    """
    codec = av.Codec(target.default_audio_codec, "w")
    rates = sorted(codec.audio_rates or [track.rate])
    rate = next((rate for rate in rates if rate >= track.rate), rates[-1])
    stream = target.add_stream(target.default_audio_codec, rate=rate)
    for layout in (_layout(track), "stereo"):
        stream.codec_context.layout = layout
        try:
            stream.codec_context.open()
            break
        except av.FFmpegError:
            if layout == "stereo":
                raise
    return stream


def _layout(track: Any) -> str:
    """The name of a track's channels, in the order that FFmpeg takes where the file names none."""
    name = track.codec_context.layout.name
    number = track.codec_context.channels
    return name if name in LAYOUTS or number > len(LAYOUTS) else LAYOUTS[number - 1]


def _named(frame: av.AudioFrame, layout: str) -> av.AudioFrame:
    """A frame whose channels have an order, for FFmpeg converts no other."""
    named = av.AudioFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name, layout=layout)
    named.sample_rate, named.pts, named.time_base = frame.sample_rate, frame.pts, frame.time_base
    return named
