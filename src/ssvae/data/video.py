"""Video files in, through PyAV; :mod:`ssvae.data.video_writer` writes them.

Frames are uint8 arrays (H, W, C), upright (turns and mirrorings in the file are applied), with
their times in seconds, which may be irregular. Clips are float tensors (C, T, H, W) in [-1, 1]. C
is 3, or 1 or 4 where ``channels`` asks for grey or for alpha: see :mod:`ssvae.data.pixels`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssvae.data.opened import (
    OpenVideo,
    VideoError,
    VideoFile,
    container_of,
    local,
    opened,
)
from ssvae.data.pixels import stack_frames, to_clip
from ssvae.data.pyav import av
from ssvae.data.sound import rising_packets, sound_track
from ssvae.data.timing import claimed_length, frame_rate, length_of, shown_for, timed_frames

logger = logging.getLogger(__name__)
alpha_warned = threading.Event()
IMAGES = (".jpg", ".jpeg", ".png")
EXTENSIONS = (
    *(".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".gif"),
    *(".mts", ".m2ts", ".flv", ".f4v", ".wmv", ".3gp", ".ogv", ".vob"),
)


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of a video; nothing is decoded but the first frame."""

    width: int
    """Width of the upright frame."""
    height: int
    fps: Fraction
    """Mean frame rate."""
    duration: float
    """Seconds of the video itself, however long its sound is; 0 where it cannot be found."""
    frames: int
    """Number of frames, estimated where the container does not tell."""
    time_base: Fraction
    has_audio: bool
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel of the upright frame over its height."""
    claimed: float = 0.0
    """Seconds that the file says its video lasts, be they there or not; 0 where it does not say."""
    has_alpha: bool = False


@dataclass(frozen=True)
class Frame:
    """One decoded frame: uint8 (H, W, C), its time in seconds from the file's beginning, and for
    how long it is shown.
    """

    image: np.ndarray
    time: float
    duration: float


def probe(file: VideoFile) -> VideoInfo:
    """Size, rate and length of a video file."""
    with opened(file) as video:
        container, stream = video.container, video.stream
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError(file, "no frames in it", "re-encode or replace the file")
        turned = video.turn_of(first).transposed
        sides = (first.height, first.width) if turned else (first.width, first.height)
        fps, duration = frame_rate(stream), length_of(file, video)
        frames = stream.frames or max(1, round(duration * fps))
        audio = sound_track(container) is not None
        aspect = 1 / video.pixel_aspect if turned else video.pixel_aspect
        return VideoInfo(
            *sides,
            fps=fps,
            duration=duration,
            frames=frames,
            time_base=stream.time_base,
            has_audio=audio,
            pixel_aspect=aspect,
            claimed=claimed_length(video),
            has_alpha=video.hides(first),
        )


def read_frames(
    path: VideoFile,
    start: float = 0.0,
    size: tuple[int, int] | None = None,
    square: bool = True,
    channels: int = 3,
) -> Iterator[Frame]:
    """Decode a video frame by frame, from the frame shown at ``start`` seconds on.

    ``size`` (height, width) resizes each frame to cover that size and crops to its middle, so that
    its pixels are square; unless ``square``, they are taken as they are stored, whatever their
    shape.

    Raises:
        VideoError: where the file is missing, holds no video, or breaks off.
    """
    with opened(path, channels=channels) as video:
        for frame, time in _decoded(video, start):
            yield Frame(video.upright(frame, size, square), time, _duration(frame, video))


def _decoded(video: OpenVideo, start: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames from the one shown at ``start`` on, with their times; jumps to the key frame before
    it.
    """
    shown = None  # the last frame that is not after the start
    for index, (frame, time) in enumerate(timed_frames(video, start)):
        if index == 0 and video.channels != 4 and video.hides(frame):
            _tell_of_alpha(video.name)
        if start > 0 and time <= start + 1e-6:
            shown = frame, time
            continue
        if shown is not None:
            yield shown
            shown = None
        yield frame, time
    if shown is not None and start < shown[1] + _duration(shown[0], video):
        yield shown


def _duration(frame: av.VideoFrame, video: OpenVideo) -> float:
    """Seconds for which a frame is shown, at the mean rate where it does not say."""
    return shown_for(frame) or float(1 / frame_rate(video.stream))


def _tell_of_alpha(name: str) -> None:
    """Once in a process, for a folder may hold a million such pictures."""
    if not alpha_warned.is_set():
        alpha_warned.set()
        message = (
            "%s has an alpha channel, which is left out, here and elsewhere: colours are as "
            "stored; a model of four channels keeps it (ssvae convert --channels 4)"
        )
        logger.warning(message, name)


def read_clip(
    file: VideoFile,
    frames: int,
    start: float = 0.0,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    channels: int = 3,
) -> torch.Tensor:
    """Read a clip of ``frames`` frames: float (C, T, H, W) in [-1, 1].

    With ``fps`` the clip shows, at each of its times, the frame that the video shows then; without
    it, consecutive frames. Only frames that are used are converted, and none after them decoded.

    Raises:
        VideoError: where the file cannot be read or ends before the clip does.
    """
    _check_request(frames, start, fps, size)
    with opened(file, channels=channels) as video:
        images = _images(video, frames, start, fps, size)
    return to_clip(_whole(file, images, frames, start))


def _check_request(
    frames: int, start: float, fps: float | None, size: tuple[int, int] | None
) -> None:
    """A ValueError for what no clip is."""
    for name, value, fits in (
        ("frames must be at least 1", frames, frames >= 1),
        ("start must be at least 0 seconds", start, start >= 0 and math.isfinite(start)),
        ("fps must be positive", fps, fps is None or (fps > 0 and math.isfinite(fps))),
        ("sides must be at least 1", size, size is None or min(size) >= 1),
    ):
        if not fits:
            raise ValueError(f"{name}, got {value}")


def draw_bytes(
    file: VideoFile,
    frames: int,
    where: float,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    channels: int = 3,
) -> np.ndarray:
    """As :func:`read_clip`, from the share ``where`` in [0, 1) of the starts that there are.

    Bytes (C, T, H, W), in NumPy: see Source.read_ahead.

    What the file says of its length is not trusted: where it breaks off, the clip is its beginning.
    One thread decodes, for a loader reads several files at once.
    """
    with opened(file, threads=1, channels=channels) as video:
        rate = frame_rate(video.stream)
        # A frame to spare, for containers round their durations.
        span = (frames - 1) / (fps or float(rate)) + 2 / float(rate)
        start = where * max(length_of(file, video) - span, 0)
        images = _images(video, frames, start, fps, size)
    if len(images) < frames and start > 0:
        start = 0.0
        with opened(file, threads=1, channels=channels) as video:
            images = _images(video, frames, start, fps, size)
    return stack_frames(_whole(file, images, frames, start))


def _images(
    video: OpenVideo,
    frames: int,
    start: float,
    fps: float | None,
    size: tuple[int, int] | None,
) -> list[np.ndarray]:
    """Up to ``frames`` frames of a clip."""
    images: list[np.ndarray] = []
    last, last_time, first_time = None, 0.0, 0.0
    for frame, time in _decoded(video, start):
        if last is None:
            first_time = time
        elif fps is not None:
            while len(images) < frames and first_time + len(images) / fps < time - 1e-6:
                images.append(video.upright(last, size))
        last, last_time = frame, time
        if fps is None:
            images.append(video.upright(frame, size))
        if len(images) >= frames:
            return images
    if last is not None and fps is not None:
        end = last_time + _duration(last, video)
        while len(images) < frames and first_time + len(images) / fps < end - 1e-6:
            images.append(video.upright(last, size))
    return images


def _whole(
    file: VideoFile, images: list[np.ndarray], frames: int, start: float
) -> list[np.ndarray]:
    if len(images) < frames:
        raise VideoError(
            file,
            "too short",
            f"{frames} frames from {start:g} s on were asked for, it has {len(images)}",
        )
    return images


def read_sound(path: str | Path) -> bytes | None:
    """The first sound track of a file, as it is, as a file of its own; None without one."""
    with container_of(path) as source:
        if sound_track(source) is None:
            return None
        # QuickTime and MP4 alone say how much of the first packet is to be left out, but each takes
        # some codecs only.
        ours, refused = "mov" in source.format.name, None
        for kind in ("mov", "mp4", "matroska") if ours else ("matroska",):
            try:
                return _copied_sound(path, kind)
            except av.FFmpegError as error:
                refused = error
    raise VideoError(
        path, "sound that cannot be kept", f"FFmpeg says {refused}; re-encode it as AAC"
    )


def _copied_sound(path: str | Path, kind: str) -> bytes | None:
    content, empty = BytesIO(), True
    with (
        av.open(local(path), metadata_errors="replace") as source,
        av.open(content, "w", format=kind) as target,
    ):
        track: Any = sound_track(source)
        copy = target.add_stream_from_template(track)
        for packet, _ in rising_packets(source, track):
            packet.stream = copy
            target.mux(packet)
            empty = False
    return None if empty else content.getvalue()
