"""Files by name: below a folder, here or distant, or in a list with captions."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ssvae.data.captions import Told, beside, say_where
from ssvae.data.collection import FileItem
from ssvae.data.lists import read_list
from ssvae.data.video import EXTENSIONS, IMAGES
from ssvae.storage.distant import files_at, is_distant

logger = logging.getLogger(__name__)

METADATA = ("metadata.csv", "metadata.jsonl")
"""Lists in a folder that hold the captions of its files."""
SHADOW = "._"  # begins the names of macOS's files about files


def find_videos(path: str | Path) -> list[Path]:
    """The video file that ``path`` is, or all video files below that folder, sorted."""
    return _chosen(path, _there(path), EXTENSIONS, "videos")


def find_media(path: str | Path) -> list[FileItem]:
    """Videos and images of a folder, here or at a URL, each with its caption: by the folder's own
    ``metadata.csv`` or ``.jsonl``, by ``NAME.json`` or ``NAME.txt`` beside it, or else its name.
    """
    if is_distant(path):
        return media_among(str(path), files_at(str(path)))
    there = _there(path)
    found = _chosen(path, there, EXTENSIONS + IMAGES, "videos or images")
    beside_any = set(there) if len(there) > 1 else None
    is_folder = Path(path).is_dir()
    listed = _metadata([Path(path) / name for name in METADATA]) if is_folder else {}
    captions = [
        listed.get(file) or beside(file, beside_any) or (_readable(file.stem), "its name")
        for file in found
    ]
    if any(where != "its name" for _, where in captions):
        say_where(str(path), [where for _, where in captions])
    return [FileItem(file, caption) for file, (caption, _) in zip(found, captions, strict=True)]


def media_among(url: str, there: Mapping[str, str]) -> list[FileItem]:
    """The films and pictures among files at a URL, as :func:`find_media` finds them; captions
    beside them are read with them.
    """
    lists = [f"{url.rstrip('/')}/{name}" for name in METADATA]
    listed = _metadata([name for name in lists if name in there])
    items = []
    for file, version in there.items():
        item = FileItem(file, version=version)
        if item.ending not in EXTENSIONS + IMAGES or file.rpartition("/")[2].startswith(SHADOW):
            continue
        stem = file.removesuffix(file[len(file) - len(item.ending) :])
        told = listed.get(file, ("", ""))[0]
        near = next((f"{stem}{end}" for end in (".json", ".txt") if f"{stem}{end}" in there), "")
        caption = told or ("" if near else stem.rpartition("/")[2])
        items.append(replace(item, caption=caption, beside="" if told else near))
    if not items:
        raise ValueError(
            f"no videos or images below {url}: their names must end in one of "
            f"{', '.join(EXTENSIONS + IMAGES)}"
        )
    return items


def _metadata(lists: Iterable[Path | str]) -> dict[Path | str, Told]:
    """The captions in a folder's own lists of its files; one that is no such list is left alone."""
    captions: dict[Path | str, Told] = {}
    for path in lists:
        if isinstance(path, Path) and not path.is_file():
            continue
        try:
            items = read_list(path)
        except ValueError as error:
            logger.info("%s holds no captions: %s", path, error)
            continue
        name = str(path).rpartition("/")[2]
        captions |= {item.path: (item.caption, name) for item in items if item.caption}
    return captions


def _readable(name: str) -> str:
    """A file's name as text, whatever bytes it is made of."""
    return name.encode(errors="replace").decode()


def _there(path: str | Path) -> list[Path]:
    """The file that ``path`` is, or all below that folder."""
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"no file or folder {path}: give a video file or a folder of videos")
    return list(files_below(path))


def _chosen(
    path: str | Path, there: Sequence[Path], endings: tuple[str, ...], what: str
) -> list[Path]:
    if Path(path).is_file():
        return list(there)
    found = sorted(file for file in there if file.suffix.lower() in endings)
    if not found:
        raise ValueError(
            f"no {what} below {path}: their names must end in one of {', '.join(endings)}"
        )
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, by way of links too, each folder once."""
    seen = set[str]()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (
            Path(where) / name
            for name in names
            if not name.startswith(SHADOW) and os.path.isfile(os.path.join(where, name))
        )
