"""How long the last frame of a moving PNG is shown, which FFmpeg takes to be as long as the one
before.
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

from ssvae.data.pyav import av

LONGEST = 65535  # of both numbers of a delay, which is their quotient in seconds
CONTROL, DELAY = b"fcTL", 20
"""The chunk that begins a frame, and where its delay stands in it (PNG, third edition,
11.3.6.2)."""


def hold_last(path: Path, frame: av.VideoFrame) -> None:
    """Show the last frame of a moving PNG for as long as ``frame`` is."""
    content = bytearray(path.read_bytes())
    at, last = 8, None
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if content[at + 4 : at + 8] == CONTROL:
            last = at
        at += 12 + length
    if last is None or frame.time_base is None:
        return
    (length,) = struct.unpack_from(">I", content, last)
    seconds = Fraction(frame.duration) * frame.time_base
    delay = min(seconds, Fraction(LONGEST)).limit_denominator(1000)
    if delay.numerator > LONGEST:
        delay = Fraction(round(delay))
    struct.pack_into(">HH", content, last + 8 + DELAY, delay.numerator, delay.denominator)
    end = last + 8 + length
    struct.pack_into(">I", content, end, zlib.crc32(content[last + 4 : end]))
    path.write_bytes(content)
