"""Video files out, through PyAV, with frame times and sound."""

from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from ssvae.data.sound import sound_packets
from ssvae.data.video import EXACT, to_images
from ssvae.storage.files import Replacement, check_file

# Containers that keep frame times, and what is written into them.
CODECS = {".mp4": "h264", ".m4v": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9"}


class VideoWriter:
    """Write frames to a video file, with the sound of another file beside them.

    Args:
        path: ends in .mp4, .m4v, .mov or .mkv (H.264), or .webm (VP9).
        width: of the frames; odd sides are kept.
        height: the same.
        fps: mean frame rate, and the rate of frames written without a time.
        time_base: the grid of frame times; a source's own keeps its times exactly.
        audio_from: a file, or its bytes, whose first sound track is taken over, copied where
            the container takes its codec and else encoded anew.
        pixel_aspect: width of a pixel over its height, which .webm does not keep.

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
    ):
        self.path = Path(path)
        check_file(path)
        codec = CODECS.get(self.path.suffix.lower())
        if codec is None:
            raise ValueError(f"cannot write {path}: end the name in one of {', '.join(CODECS)}")
        if pixel_aspect != 1 and codec == "vp9":
            raise ValueError(
                f"cannot write {path}: the source's pixels are {pixel_aspect} times as wide as high, "
                "which .webm does not keep: end the name in .mp4, .mov or .mkv"
            )
        rate = Fraction(fps).limit_denominator(65535)
        self._file = Replacement(self.path)
        try:
            self._container: Any = av.open(str(self._file.partial), "w")
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
        options = {"crf": "14"}
        if codec == "h264":
            options["mbtree"] = "0"  # with it x264 writes the same frames now this way, now that
        self._stream = self._container.add_stream(codec, rate=rate, options=options)
        self._stream.width, self._stream.height = width, height
        # 4:2:0 has no odd sides.
        self._stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        context = self._stream.codec_context
        context.time_base = time_base or 1 / rate
        context.sample_aspect_ratio = pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # limited
        self._rate, self._count = rate, 0
        self._last_pts = -1
        self._sound = (
            sound_packets(audio_from, self._container, self.path.suffix.lower())
            if audio_from
            else iter(())
        )
        self._pending = next(self._sound, None)  # adds the stream, before the first packet

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Add a frame, uint8 (H, W, 3), shown from ``time`` seconds on."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(
            format=self._stream.pix_fmt, dst_colorspace="itu709", interpolation=EXACT
        )
        base = self._stream.codec_context.time_base
        seconds = Fraction(self._count) / self._rate if time is None else Fraction(time)
        frame.pts = self._last_pts = max(round(seconds / base), self._last_pts + 1)
        frame.time_base = base
        self._count += 1
        self._mux_sound(float(frame.pts * base))
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file."""
        try:
            self._container.mux(self._stream.encode())
            self._mux_sound(float("inf"))
            self._container.close()
            self._file.keep()
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        with suppress(av.FFmpegError):
            self._container.close()
        self._file.discard()

    def __enter__(self) -> "VideoWriter":
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


def write_video(path: str | Path, clip: torch.Tensor, fps: Fraction | float) -> None:
    """Write a clip (3, T, H, W), clamped to [-1, 1], as a video file."""
    _, _, height, width = clip.shape
    with VideoWriter(path, width, height, fps) as writer:
        for image in to_images(clip):
            writer.write(image)
