"""An open video: its container and first video stream, what decodes it, and a frame's pixels,
upright.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ssvae.data.orientation import Turn, exif_turn
from ssvae.data.pixels import check_channels, of_rgb, premultiplied
from ssvae.data.pyav import av
from ssvae.storage.files import for_ffmpeg, is_numbered, numbered_files

# Swscale's SWS_BICUBIC, which widens its filter when it shrinks, so that nothing aliases; with
# SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP and SWS_ACCURATE_RND: without them 4:2:0 becomes darker by
# 1 of 255.
EXACT = 4 | 0x2000 | 0x4000 | 0x40000
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Of codecs whose alpha lies beside their packets, where FFmpeg's own decoders leave it."""
UNLABELLED = 2  # FFmpeg's number for a colour space that a file does not tell
HD = 720, 1280  # lines or columns
JPEG_BEGINS, JPEG_SEGMENT = b"\xff\xd8", b"\xff"
JPEG_SCAN, JPEG_ENDS = b"\xff\xda", b"\xff\xd9"
HDR = {16: "PQ, SMPTE 2084", 18: "HLG, ARIB STD-B67"}
"""Transfer curves, by FFmpeg's numbers, that bytes of BT.709 cannot show."""


logger = logging.getLogger(__name__)
_resized: set[str] = set()
"""Files of which it was said that their frames change their size."""


class NamedBytes(BytesIO):
    """A video file in memory, such as a member of a shard, and what to call it."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


VideoFile = str | Path | NamedBytes


def name_of(file: VideoFile) -> str:
    """What a video file is called."""
    return file.name if isinstance(file, NamedBytes) else str(file)


class VideoError(ValueError):
    """A video file that cannot be used; ``reason`` says why in a word or two."""

    def __init__(self, file: VideoFile, reason: str, remedy: str):
        self.name = name_of(file)
        super().__init__(f"{self.name}: {reason}: {remedy}")
        self.reason = reason


@dataclass(frozen=True)
class OpenVideo:
    """An open file, its first video stream, and the channels that are asked for.

    ``size`` is that of its frames (height, width) as the file says. ``turn`` makes all frames
    upright, where each does not tell by itself; ``decoder`` is what decodes alpha that the stream's
    own decoder leaves out.
    """

    file: VideoFile
    container: Any
    stream: Any
    channels: int
    size: tuple[int, int]
    turn: Turn | None = None
    decoder: str | None = None

    @property
    def name(self) -> str:
        """What the file is called."""
        return name_of(self.file)

    def turn_of(self, frame: av.VideoFrame) -> Turn:
        """What makes a frame upright."""
        return Turn.of(frame) if self.turn is None else self.turn

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a stored pixel over its height."""
        return Fraction(self.stream.sample_aspect_ratio or 1)

    def upright(
        self, frame: av.VideoFrame, size: tuple[int, int] | None, square: bool = True
    ) -> np.ndarray:
        """Turned as the file asks; resized to cover ``size`` (height, width), cropped to it.

        It then shows what the file shows; unless ``square``, pixels count as they are stored.
        """
        turn = self.turn_of(frame)
        if size is None:
            return turn(self._pixels(frame, frame.width, frame.height))
        height, width = size[::-1] if turn.transposed else size
        shown = frame.width * (self.pixel_aspect if square else 1)
        scale = max(height / frame.height, float(width / shown))
        h, w = max(height, round(frame.height * scale)), max(width, round(shown * scale))
        image = self._pixels(frame, w, h)
        top, left = (h - height) // 2, (w - width) // 2
        return turn(image[top : top + height, left : left + width])

    def _pixels(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
        """A frame of that size with the channels that are asked for."""
        if self.channels != 4 or not _may_hold_alpha(frame):
            rgb = _converted(frame, "rgb24", width=width, height=height)
            return of_rgb(rgb, self.channels)
        image = premultiplied(_converted(frame, "rgba"))
        if (frame.width, frame.height) == (width, height):
            return image
        whole = av.VideoFrame.from_ndarray(image, format="rgba")
        image = whole.to_ndarray(format="rgba", width=width, height=height, interpolation=EXACT)
        image[..., :3] = np.minimum(image[..., :3], image[..., 3:])  # bicubic overshoots
        return image

    def decoded(self, from_the_first: bool) -> Iterator[av.VideoFrame]:
        """All frames from where the file stands, each of the first one's size, as players show
        them.
        """
        size = None if from_the_first or not all(self.size) else self.size
        for frame in self._decoded():
            size = size or (frame.height, frame.width)
            if (frame.height, frame.width) != size:
                if self.name not in _resized:
                    _resized.add(self.name)
                    message = "%s changes its size on the way: frames of %dx%d are brought to %dx%d"
                    logger.warning(message, self.name, frame.height, frame.width, *size)
                times = frame.pts, frame.time_base, frame.duration
                height, width = size
                frame = frame.reformat(width=width, height=height, interpolation=EXACT)
                frame.pts, frame.time_base, frame.duration = times
            yield frame

    def _decoded(self) -> Iterator[av.VideoFrame]:
        if self.channels != 4 or self.decoder is None:
            yield from self.container.decode(self.stream)
            return
        alone: Any = av.CodecContext.create(self.decoder, "r")
        for packet in self.container.demux(self.stream):
            yield from alone.decode(packet)

    def hides(self, frame: av.VideoFrame) -> bool:
        """Whether the file holds alpha, by its first frame."""
        if self.decoder is not None:
            return True
        always = frame.format.name == "pal8" or self.container.format.name == "gif"
        if not always:
            return _may_hold_alpha(frame)
        return bool((_converted(frame, "rgba")[..., 3] < 255).any())


def _may_hold_alpha(frame: av.VideoFrame) -> bool:
    """A palette may be of transparent colours."""
    alpha = any(part.is_alpha for part in frame.format.components)
    return alpha or frame.format.name == "pal8"


def _converted(frame: av.VideoFrame, pixels: str, **size: Any) -> np.ndarray:
    """A frame's pixels as bytes. Where nothing says how colours are coded, HD is of BT.709, as
    players take it, and the rest of BT.601.
    """
    coded = dict[str, Any]()
    unlabelled = frame.colorspace == UNLABELLED and frame.format.name.startswith(
        ("yuv", "nv", "p0")
    )
    if unlabelled and (frame.height >= HD[0] or frame.width >= HD[1]):
        coded["src_colorspace"] = "itu709"
    return frame.to_ndarray(format=pixels, interpolation=EXACT, **coded, **size)


@contextmanager
def opened(file: VideoFile, threads: int = 0, channels: int = 3) -> Iterator[OpenVideo]:
    """A file with a video stream, with FFmpeg's errors turned into VideoErrors.

    ``threads`` decode; 0 leaves it to FFmpeg.
    """
    check_channels(channels)
    with container_of(file) as container:
        if not container.streams.video:
            raise VideoError(file, "no video in it", "give a file with a video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise VideoError(file, "its codec is not known", "convert it with FFmpeg, or mend it")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        if curve := HDR.get(int(stream.codec_context.color_trc or 0)):
            raise VideoError(
                file,
                f"its range of brightness is high ({curve})",
                "map its tones to BT.709 first, such as with FFmpeg's zscale and tonemap",
            )
        context = stream.codec_context
        size = context.height, context.width
        turn, decoder = None, _alpha_decoder(stream)
        if container.format.name.endswith(("_pipe", "image2")):
            for picture in _pictures(file).values() or [file]:
                _check_picture_once(picture)
            turn = exif_turn(next(iter(_pictures(file).values()), file))
        elif decoder is not None and channels == 4:  # which does not tell how frames are turned
            first = next(container.decode(stream), None)
            turn = None if first is None else Turn.of(first)
            container.seek(stream.start_time or 0, stream=stream)
        yield OpenVideo(file, container, stream, channels, size, turn, decoder)


def _alpha_decoder(stream: Any) -> str | None:
    """What decodes the alpha of a stream that says it has some, where its own decoder does not."""
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    return ALPHA_DECODERS.get(stream.codec_context.name) if tags.get("alpha_mode") == "1" else None


@contextmanager
def container_of(file: VideoFile) -> Iterator[Any]:
    """A file's container, with FFmpeg's errors turned into VideoErrors; pictures that are numbered
    as one.
    """
    pictures = _pictures(file)
    in_memory = isinstance(file, NamedBytes)
    if not in_memory and Path(file).is_dir():
        raise VideoError(file, "a folder", "give the path of a video file in it")
    if not in_memory and not pictures and not Path(file).is_file():
        raise VideoError(file, "no such file", "give the path of a video file")
    # Bytes may be open twice at once, each with a place of its own.
    name: Any = BytesIO(file.getvalue()) if isinstance(file, NamedBytes) else local(file)
    how: dict[str, Any] = {}
    if pictures:
        name = local(for_ffmpeg(Path(str(file))))
        how = dict(format="image2", options={"start_number": str(min(pictures))})
    try:
        # Titles are in any encoding.
        with av.open(name, metadata_errors="replace", **how) as container:
            yield container
    except av.FFmpegError as error:
        raise VideoError(
            file, "unreadable", f"FFmpeg says {error.strerror!r}; re-encode or replace the file"
        ) from error


def local(path: str | Path) -> str:
    """A file's name as FFmpeg takes it for one, whatever stands before a colon in it."""
    return f"file:{path}"


def _check_picture_once(file: VideoFile) -> None:
    if isinstance(file, NamedBytes):
        _check_picture(file)
    else:
        facts = Path(file).stat()
        _checked(str(file), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=2**20)
def _checked(path: str, size: int, changed: int) -> None:
    _check_picture(path)


def _check_picture(file: VideoFile) -> None:
    """A VideoError for a JPEG that breaks off, of which FFmpeg makes up the rest."""
    content = file.getvalue() if isinstance(file, NamedBytes) else Path(file).read_bytes()
    if not content.startswith(JPEG_BEGINS):
        return
    at = len(JPEG_BEGINS)
    while content[at : at + 2] != JPEG_SCAN:  # segments of stated lengths, thumbnails among them
        length = int.from_bytes(content[at + 2 : at + 4])
        if content[at : at + 1] != JPEG_SEGMENT or length < 2:
            return  # FFmpeg tells what is wrong
        at += 2 + length
    if content.rfind(JPEG_ENDS) < at:
        raise VideoError(file, "cut off", "replace the file")


def _pictures(file: VideoFile) -> dict[int, Path]:
    """The pictures that a name such as frames/%05d.png stands for; none for other files."""
    if isinstance(file, NamedBytes) or Path(file).exists() or not is_numbered(Path(file)):
        return {}
    there = numbered_files(Path(file))
    if not there:
        raise VideoError(
            file, "no such pictures", "give the pattern of their names, and its digits"
        )
    missing = set(range(min(there), max(there))) - set(there)
    if missing:
        name = Path(file).name % min(missing)
        raise VideoError(file, f"{name} is missing", "put it back, or number the pictures anew")
    return there
