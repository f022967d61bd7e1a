"""Files by name: below a folder, or in a list with captions."""

import csv
import json
from pathlib import Path

from ssvae.data.collection import FileItem
from ssvae.data.video import EXTENSIONS, IMAGES

PATH_FIELDS, CAPTION_FIELDS = ("path", "video", "file"), ("caption", "text")


def find_videos(path: str | Path) -> list[Path]:
    """The video file that ``path`` is, or all video files below that folder, sorted."""
    return _find(path, EXTENSIONS, "videos")


def find_media(path: str | Path) -> list[FileItem]:
    """Videos and images, each with its name for a caption."""
    found = _find(path, EXTENSIONS + IMAGES, "videos or images")
    return [FileItem(file, file.stem) for file in found]


def _find(path: str | Path, endings: tuple[str, ...], what: str) -> list[Path]:
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"no file or folder {path}: give a video file or a folder of videos")
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in endings)
    if not found:
        raise ValueError(
            f"no {what} below {path}: their names must end in one of {', '.join(endings)}"
        )
    return found


def read_list(path: str | Path) -> list[FileItem]:
    """The files that a list names, each with its caption.

    A ``.csv`` begins with a line of column names; a ``.jsonl`` holds an object a line. A file stands
    under ``path`` (or ``video``, ``file``), relative to the list, its caption under ``caption`` (or
    ``text``).
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no list of files {path}: give the path of a .csv or .jsonl file")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                rows = list(csv.DictReader(file))
            else:
                rows = []
                for number, line in enumerate(file, 1):
                    try:
                        rows += [json.loads(line)] if line.strip() else []
                    except json.JSONDecodeError as error:
                        raise ValueError(f"line {number}, {error.msg}") from error
    except (ValueError, csv.Error) as error:  # no UTF-8 among them
        raise ValueError(f"{path} does not read as a list: {error}") from error
    items = []
    for number, row in enumerate(rows, 1):
        named = [row[f] for f in PATH_FIELDS if row.get(f)] if isinstance(row, dict) else []
        if not named or not isinstance(named[0], str):
            raise ValueError(
                f"entry {number} of {path} names no file: each needs one under "
                f"{' or '.join(PATH_FIELDS)}, got {row}"
            )
        captions = [row[f] for f in CAPTION_FIELDS if isinstance(row.get(f), str)]
        items.append(FileItem(path.parent / named[0], captions[0] if captions else ""))
    if not items:
        raise ValueError(f"{path} names no file: each line below the first is one")
    return items
