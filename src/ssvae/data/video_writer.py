"""Video files out, through PyAV, with frame times and sound."""

from __future__ import annotations

import logging
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssvae.data.moving_picture import hold_last
from ssvae.data.opened import EXACT, local
from ssvae.data.pixels import check_channels, straight, to_images
from ssvae.data.pyav import av
from ssvae.data.sound import sound_packets
from ssvae.storage.files import (
    NumberedReplacement,
    Replacement,
    check_file,
    for_ffmpeg,
    is_numbered,
)

logger = logging.getLogger(__name__)

# Containers that keep frame times, and what is written into them.
CODECS = {
    ".mp4": "h264",
    ".m4v": "h264",
    ".mov": "h264",
    ".mkv": "h264",
    ".webm": "libvpx-vp9",
    ".png": "apng",
}
ALPHA_CODECS = {".mov": "prores_ks", ".mkv": "ffv1", ".webm": "libvpx-vp9", ".png": "apng"}
# What a codec is given: pixels of colours, and of colours with alpha; of odd sides where 4:2:0 has
# none.
FORMATS = {
    "h264": ("yuv420p", ""),
    "libvpx-vp9": ("yuv420p", "yuva420p"),
    "prores_ks": ("", "yuva444p10le"),
    "ffv1": ("", "bgra"),
    "apng": ("rgb24", "rgba"),
    "png": ("rgb24", "rgba"),
}
SQUARE = ("libvpx-vp9", "ffv1")
"""Codecs whose containers do not keep other pixels."""
MUXERS = {"apng": "apng", "png": "image2"}
"""Of codecs whose files' names do not tell."""
BY_DECODING = (".mp4", ".m4v", ".mov")
"""Containers that end with the packet that is decoded last, be it shown before others."""
OPTIONS = {
    # With mbtree x264 writes the same frames now this way, now that.
    "h264": {"crf": "14", "mbtree": "0"},
    "libvpx-vp9": {"crf": "14"},
    "prores_ks": {"profile": "4444"},
}


class VideoWriter:
    """Write frames to a video file, with the sound of another file beside them.

    Args:
        path: ends in .mp4, .m4v, .mov or .mkv (H.264), .webm (VP9), or .png (a picture, which moves
            where it has several frames; with ``%05d`` or the like in its name a picture for each
            frame).
        width: of the frames; odd sides are kept.
        height: the same.
        fps: mean frame rate, and the rate of frames written without a time.
        time_base: the grid of frame times; a source's own keeps its times exactly.
        audio_from: a file, or its bytes, whose first sound track is taken over, copied where
            the container takes its codec and else encoded anew.
        pixel_aspect: width of a pixel over its height, which .webm, and .mkv with alpha, do not
            keep.
        channels: 3; 1 for grey; 4 for alpha, in .mov (ProRes 4444), .webm (VP9), .mkv (FFV1) or
            .png.

    Used as a context manager; the file has another name until it is finished.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: Fraction | float,
        time_base: Fraction | None = None,
        audio_from: str | Path | BytesIO | None = None,
        pixel_aspect: Fraction = Fraction(1),
        channels: int = 3,
    ):
        self.path, self.channels = Path(path), channels
        check_file(path)
        codec = codec_of(path, channels)
        if pixel_aspect != 1 and codec in SQUARE:
            codecs = ALPHA_CODECS if channels == 4 else CODECS
            kept = [suffix for suffix, codec in codecs.items() if codec not in SQUARE]
            raise ValueError(
                f"cannot write {path}: the source's pixels are {pixel_aspect} times as wide as "
                f"high, which {self.path.suffix} does not keep: end the name in one of "
                f"{', '.join(kept)}"
            )
        rate = Fraction(fps).limit_denominator(65535)
        self._file = (NumberedReplacement if codec == "png" else Replacement)(self.path)
        try:
            name, muxer = local(self._file.partial), MUXERS.get(codec)
            if codec == "png":
                name = local(for_ffmpeg(self._file.partial))
            self._container: Any = av.open(name, "w", format=muxer)
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror}") from error
        try:
            self._prepare(codec, rate, width, height, time_base, audio_from, pixel_aspect)
        except BaseException:
            self._discard()
            raise

    def _prepare(
        self,
        codec: str,
        rate: Fraction,
        width: int,
        height: int,
        time_base: Fraction | None,
        audio_from: str | Path | BytesIO | None,
        pixel_aspect: Fraction,
    ) -> None:
        self._moving_picture = codec == "apng"
        self._stream = self._container.add_stream(codec, rate=rate, options=OPTIONS.get(codec, {}))
        self._stream.width, self._stream.height = width, height
        pixels = FORMATS[codec][self.channels == 4]
        if pixels == "yuv420p" and (width % 2 or height % 2):  # which has no odd sides
            pixels = "yuv444p"
        self._stream.pix_fmt = pixels
        context = self._stream.codec_context
        context.time_base = time_base or 1 / rate
        context.sample_aspect_ratio = pixel_aspect
        self._coded = pixels.startswith(
            "yuv"
        )  # as brightness and colour, not as red, green and blue
        if self._coded:
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
            context.color_range = 1  # limited
        if audio_from and codec in MUXERS:
            logger.warning("%s keeps no sound: it is left out", self.path)
            audio_from = None
        self._rate, self._count = rate, 0
        self._waiting: av.VideoFrame | None = None  # until it is known for how long it is shown
        self._durations: dict[int, int] = {}  # of encoded frames, which encoders forget
        self._sound = (
            sound_packets(audio_from, self._container, self.path.suffix.lower())
            if audio_from
            else iter(())
        )
        self._pending = next(self._sound, None)  # adds the stream, before the first packet

    def write(
        self, image: np.ndarray, time: float | None = None, duration: float | None = None
    ) -> None:
        """Add a frame, uint8 (H, W, C), shown from ``time`` seconds on; alpha is premultiplied.

        The last frame is shown for ``duration`` seconds, or as long as frames are on average;
        others until the next.
        """
        given = "rgb24"
        if self.channels == 4:
            image, given = straight(image), "rgba"
        elif self.channels == 1:
            image = image.repeat(3, -1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=given)
        frame = frame.reformat(
            format=self._stream.pix_fmt,
            dst_colorspace="itu709" if self._coded else None,
            interpolation=EXACT,
        )
        base = self._stream.codec_context.time_base
        seconds = Fraction(self._count) / self._rate if time is None else Fraction(time)
        frame.pts, frame.time_base = round(seconds / base), base
        frame.duration = max(1, round(Fraction(duration or 1 / self._rate) / base))
        if self._waiting is not None:
            assert self._waiting.pts is not None
            frame.pts = max(frame.pts, self._waiting.pts + 1)
            self._waiting.duration = frame.pts - self._waiting.pts
            self._encode(self._waiting)
        self._waiting = frame
        self._count += 1

    def _encode(self, frame: av.VideoFrame | None) -> None:
        """Encode and write a frame, or at the end what the encoder still has."""
        if frame is not None:
            assert frame.pts is not None
            self._durations[frame.pts] = frame.duration
            self._mux_sound(float(frame.time or 0))
        packets = self._stream.encode(frame)
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
        if frame is None and packets and self._waiting and self.path.suffix.lower() in BY_DECODING:
            packets[-1].duration = self._waiting.duration
        self._container.mux(packets)

    def close(self) -> None:
        """Finish the file."""
        try:
            if self._waiting is not None:
                self._encode(self._waiting)
            self._encode(None)
            self._mux_sound(float("inf"))
            self._container.close()
            if self._moving_picture and self._waiting is not None:
                hold_last(self._file.partial, self._waiting)
            self._file.keep()
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        with suppress(av.FFmpegError):
            self._container.close()
        self._file.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()

    def _mux_sound(self, until: float) -> None:
        while self._pending is not None:
            packet, time = self._pending
            if time > until:
                return
            self._container.mux(packet)
            self._pending = next(self._sound, None)


def codec_of(path: str | Path, channels: int) -> str:
    """What frames of so many channels are written with; a ValueError where the file cannot hold
    them.
    """
    check_channels(channels)
    suffix = Path(path).suffix.lower()
    if suffix not in CODECS:
        raise ValueError(f"cannot write {path}: end the name in one of {', '.join(CODECS)}")
    if suffix == ".png" and is_numbered(Path(path)):
        return "png"
    if channels != 4:
        return CODECS[suffix]
    if suffix not in ALPHA_CODECS:
        raise ValueError(
            f"cannot write {path}: {suffix} holds no alpha, which this film has: end the name in "
            f"one of {', '.join(ALPHA_CODECS)}"
        )
    return ALPHA_CODECS[suffix]


def write_video(path: str | Path, clip: torch.Tensor, fps: Fraction | float) -> None:
    """Write a clip (C, T, H, W), clamped to [-1, 1], as a video file."""
    channels, _, height, width = clip.shape
    with VideoWriter(path, width, height, fps, channels=channels) as writer:
        for image in to_images(clip):
            writer.write(image)
