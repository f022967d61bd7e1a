"""Data sets of the library ``datasets``, on the hub or in a folder: films that lie in a column.

They are not decoded there, but by the reader of all other films.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import constants as hub_constants

from ssvae.data.captions import FIELDS, NOWHERE, of_fields, say_where
from ssvae.data.collection import FileItem
from ssvae.data.lists import PATH_FIELDS
from ssvae.data.opened import NamedBytes, VideoError, VideoFile
from ssvae.data.video import EXTENSIONS, IMAGES
from ssvae.storage.digests import checksum_of_rows
from ssvae.storage.distant import is_distant
from ssvae.storage.hub import silence

PREFIX = "datasets:"
COLUMNS = (*PATH_FIELDS, *(ending.removeprefix(".") for ending in EXTENSIONS))
"""Where films are looked for if no column is of the type Video."""
PICTURES = ("image", *(ending.removeprefix(".") for ending in IMAGES))
AT_ONCE = 2**14
"""Captions that are read at once."""
BESIDE = ("json", "txt")
"""Columns that WebDataset's files beside a film become."""


def is_hub_dataset(name: str) -> bool:
    """Whether a source's name is one of a data set of the library ``datasets``."""
    return name.startswith(PREFIX)


class HubDataset:
    """A shelf of the rows of a data set, each a shard of its own.

    ``name`` is ``datasets:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]``, or ``datasets:FOLDER[:SPLIT]``.
    The library keeps a copy on this machine, which all processes map into memory.

    Raises:
        ValueError: where there is no such data set, split, or column of films.
    """

    def __init__(self, name: str, videos_only: bool):
        rows = _load(name)
        self.name, self.column = name, _column_of(rows, name, videos_only)
        captions = [c for c in (*FIELDS, *BESIDE) if c in rows.column_names]
        self.rows = _undecoded(rows.select_columns([self.column, *captions]), self.column)
        self.lengths = np.ones(len(self.rows), np.int64)
        say_where(name, [_caption(row)[1] for row in self._captions()])

    def item(self, shard: int, index: int) -> tuple[VideoFile, str]:
        """A row's film and its caption."""
        row = self.rows[shard]
        media, caption = row[self.column], _caption(row)[0]
        called = f"{self.name}, row {shard}"
        content, path = _parts(media)
        if content is not None:
            ending = Path(path or "").suffix
            return NamedBytes(content, called + ending), caption
        if not path:
            raise VideoError(called, "empty", "leave out the row")
        return FileItem(path if is_distant(path) else Path(path), caption).read()

    def checksum(self) -> str:
        """Of the names and sizes of all films and their captions, in order."""
        films = self.rows.data.column(self.column)
        told = zip(_names_and_sizes(films), self._captions(), strict=True)
        return checksum_of_rows([*film, _caption(row)[0]] for film, row in told)

    def _captions(self) -> Iterator[dict[str, Any]]:
        """The rows without their films."""
        names = [column for column in self.rows.column_names if column != self.column]
        if not names:
            yield from ({} for _ in range(len(self.rows)))
            return
        for batch in self.rows.select_columns(names).iter(AT_ONCE):
            columns = (batch[name] for name in names)
            yield from (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _load(name: str) -> Any:
    """The rows that a name stands for."""
    try:
        from datasets import config as datasets_config
        from datasets import get_dataset_split_names, load_dataset
    except ImportError as error:
        raise ValueError(
            f"{name} needs the library datasets: pip install 'ssvae[cloud]'"
        ) from error
    where, config, revision, split = _read(name)
    reason = "" if os.path.isdir(where) else silence()
    if reason:  # what was fetched before is taken, and nothing asked for half a minute
        datasets_config.HF_HUB_OFFLINE = hub_constants.HF_HUB_OFFLINE = True
    try:
        split = split or _first_split(get_dataset_split_names(where, config, revision=revision))
        return load_dataset(where, config, split=split, revision=revision)
    except Exception as error:  # of as many kinds as there are builders
        unreached = f"; the hub does not answer ({reason})" if reason else ""
        raise ValueError(f"{name} does not load: {_line(error)}{unreached}") from error


def _read(name: str) -> tuple[str, str | None, str | None, str | None]:
    """Where a data set lies, its configuration, revision and split; None where not told."""
    rest = name.removeprefix(PREFIX)
    if os.path.isdir(rest):
        return rest, None, None, None
    rest, _, split = rest.partition(":")
    if os.path.isdir(rest):
        return rest, None, None, split or None
    rest, _, revision = rest.partition("@")
    parts = rest.split("/")
    if not all(parts) or len(parts) > 3:
        raise ValueError(
            f"a data set is named {PREFIX}OWNER/NAME[/CONFIG][@REVISION][:SPLIT], or "
            f"{PREFIX}FOLDER[:SPLIT], got {name}"
        )
    config = parts[2] if len(parts) == 3 else None
    return "/".join(parts[:2]), config, revision or None, split or None


def _first_split(splits: list[str]) -> str:
    return "train" if "train" in splits else splits[0]


def _column_of(rows: Any, name: str, videos_only: bool) -> str:
    """The column of films: of the type Video, or of a name that says so; or one of pictures."""
    kinds = {column: type(feature).__name__ for column, feature in rows.features.items()}
    wanted = [("Video", COLUMNS)] + ([] if videos_only else [("Image", PICTURES)])
    for kind, names in wanted:
        for column in [c for c in kinds if kinds[c] == kind] or [c for c in names if c in kinds]:
            return column
    raise ValueError(
        f"{name} has no column of {'films' if videos_only else 'films or pictures'}: it has "
        f"{', '.join(kinds)}, and one must be of the type Video, or be named {COLUMNS[0]} or "
        f"{COLUMNS[1]}"
    )


def _undecoded(rows: Any, column: str) -> Any:
    """The rows, whose films stay files."""
    from datasets import Image, Video

    for kind in (Video, Image):
        if isinstance(rows.features[column], kind):
            return rows.cast_column(column, kind(decode=False))
    return rows


def _caption(row: dict[str, Any]) -> tuple[str, str]:
    """A row's caption, and where it was found."""
    beside = row.get("txt")
    text = beside.strip() if isinstance(beside, str) else ""
    found = of_fields(row, "the column") or of_fields(row.get("json"), "json, field")
    return found or ((text, "the column txt") if text else ("", NOWHERE))


def _parts(media: Any) -> tuple[bytes | None, str | None]:
    """A film's content and its name, as far as a row holds them."""
    if isinstance(media, dict):
        return media.get("bytes"), media.get("path")
    return (media, None) if isinstance(media, bytes) else (None, media)


def _names_and_sizes(films: Any) -> Iterator[tuple[str, int]]:
    """Of each film, read without its content; -1 where the size is not known."""
    import pyarrow.types as types
    from pyarrow import compute

    for chunk in films.chunks:
        content, path = (
            (chunk.field("bytes"), chunk.field("path"))
            if types.is_struct(chunk.type)
            else (None, chunk)
            if types.is_string(chunk.type) or types.is_large_string(chunk.type)
            else (chunk, None)
        )
        unknown = [None] * len(chunk)
        sizes = unknown if content is None else compute.call_function("binary_length", [content])
        for size, name in zip(sizes, unknown if path is None else path, strict=True):
            size, name = (each.as_py() if each is not None else None for each in (size, name))
            if size is None and name and os.path.isfile(name):
                size = os.path.getsize(name)
            yield Path(name or "").name, -1 if size is None else size


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
