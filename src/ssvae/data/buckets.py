"""Films sorted by the clip that suits each: by shape first, then by length."""

import json
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

from ssvae.data.collection import FileItem, Files
from ssvae.data.sources import is_endless, open_shelf
from ssvae.data.video import VideoError, VideoInfo, probe
from ssvae.storage.files import write_text

logger = logging.getLogger(__name__)

Size = tuple[int, int, int]
"""Frames, height and width of a clip."""


def bucket_name(size: Size) -> str:
    """A clip's size as it is written: 9x48x80."""
    return "x".join(map(str, size))


def parse_buckets(names: Sequence[str]) -> list[Size]:
    """Sizes of clips from how they are written; a ValueError for what is none, and for one named
    twice.
    """
    sizes: list[Size] = []
    for name in names:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", name):
            raise ValueError(
                "a bucket is written FRAMESxHEIGHTxWIDTH, such as 9x48x80, got " + repr(name)
            )
        frames, height, width = map(int, name.split("x"))
        if (frames, height, width) in sizes:
            raise ValueError(f"the bucket {name} is named twice")
        sizes.append((frames, height, width))
    return sizes


def bucket_of(film: VideoInfo, sizes: Sequence[Size], fps: float | None = None) -> Size | None:
    """The size that suits a film: of those that it is long enough for, at ``fps`` where given, the
    nearest in aspect ratio; among equals the longest, then the largest that does not enlarge it.
    None where it is too short for all.
    """
    frames = film.frames if fps is None else math.floor(film.duration * fps + 1e-6)
    aspect = float(film.width * film.pixel_aspect) / film.height

    def unlike(size: Size) -> tuple[float, int, bool, int]:
        length, height, width = size
        distance = round(abs(math.log(width / height / aspect)), 6)
        enlarged = height > film.height or width > film.width * film.pixel_aspect
        pixels = height * width
        return distance, -length, enlarged, pixels if enlarged else -pixels

    return min((s for s in sizes if s[0] <= frames), key=unlike, default=None)


def sort_into_buckets(
    data: str, sizes: Sequence[Size], fps: float | None = None
) -> dict[Size, list[FileItem]]:
    """The films of a folder or a list, each in the bucket that suits it, in their order; buckets
    that stay empty are left out. What does not open, or is too short, is left out and told.

    Raises:
        ValueError: where ``data`` is no folder or list of films, or none of them fits.
    """
    shelf = None if is_endless(data) else open_shelf(data, min(frames for frames, _, _ in sizes))
    if not isinstance(shelf, Files):
        raise ValueError(
            f"buckets are for films of several shapes, in a folder or a list: {data} has none"
        )
    found: dict[Size, list[FileItem]] = {size: [] for size in sizes}
    for item in shelf.items:
        try:
            film = probe(item.read()[0])
        except VideoError as error:
            logger.warning("left out %s", error)
            continue
        size = bucket_of(film, sizes, fps)
        if size is None:
            logger.warning("left out %s: too short for every bucket", item.path)
        else:
            found[size].append(item)
    held = {size: items for size, items in found.items() if items}
    if not held:
        raise ValueError(f"no film of {data} fits one of {', '.join(map(bucket_name, sizes))}")
    for size in sizes:
        if size not in held:
            logger.warning("no film of %s is for the bucket %s", data, bucket_name(size))
    return held


def write_list(path: Path, items: Sequence[FileItem]) -> None:
    """Files and their captions, as a list that data is read from."""
    rows = ({"path": _absolute(item.path), "caption": item.caption} for item in items)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _absolute(path: Path | str) -> str:
    return str(path.resolve()) if isinstance(path, Path) else path
