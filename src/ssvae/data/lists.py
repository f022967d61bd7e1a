"""Lists of films with captions, .csv, .jsonl or .parquet, in columns: a block of text and where its
parts end.

Columns of a large list lie in files that all processes of a machine map into memory, so that a row
costs none of them more than a number or two.
"""

import csv
import json
import logging
import mmap
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any, overload

import numpy as np
from filelock import FileLock

from ssvae.data.captions import FIELDS, NOWHERE, beside, say_where
from ssvae.data.collection import FileItem
from ssvae.data.video import IMAGES
from ssvae.storage.digests import checksum
from ssvae.storage.distant import content_at, is_distant
from ssvae.storage.files import of_this_machine, read_json, replacing, write_json

logger = logging.getLogger(__name__)

ENDINGS = (".csv", ".jsonl", ".parquet")
PATH_FIELDS = ("path", "video", "file", "file_name", "video_path", "image_path", "media_path")
LARGE = 2**22  # bytes of a list from which on its columns are kept in files
FORMAT = 1
AT_ONCE = 2**16  # rows of Parquet, and parts of text that are written together

Row = Sequence[Any]
"""The values of a row, in the order of the columns that are read."""


@dataclass(frozen=True)
class ListedFiles(Sequence[FileItem]):
    """The files that a list names, each made when it is asked for."""

    base: Path | str
    """What their paths are relative to."""
    text: Any
    """Bytes: path and caption of each row, one behind the other."""
    ends: np.ndarray
    """Where they end (rows, 2)."""
    images: np.ndarray
    """Whether a row is of a picture (rows,)."""
    rows: np.ndarray | None = None
    """Those that count; all where None."""

    def __len__(self) -> int:
        return len(self.ends if self.rows is None else self.rows)

    @overload
    def __getitem__(self, index: int) -> FileItem: ...
    @overload
    def __getitem__(self, index: slice) -> list[FileItem]: ...
    def __getitem__(self, index: int | slice) -> FileItem | list[FileItem]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]  # an IndexError beyond the end
        row = row if self.rows is None else int(self.rows[row])
        begin = int(self.ends[row - 1, 1]) if row else 0
        middle, end = map(int, self.ends[row])
        path, caption = bytes(self.text[begin:middle]), bytes(self.text[middle:end])
        return FileItem(
            _named_in(self.base, path.decode(errors="surrogateescape")), caption.decode()
        )

    def films(self) -> "ListedFiles":
        """Those that are no pictures."""
        if not self.images.any():
            return self
        return replace(self, rows=np.flatnonzero(~self.images))


def is_list(name: str | Path) -> bool:
    """Whether a source's name is one of a list."""
    return str(name).lower().endswith(ENDINGS)


def read_list(path: str | Path) -> ListedFiles:
    """The files that a list names, each with its caption.

    A ``.csv`` begins with a line of column names; a ``.jsonl`` holds an object a line. A file
    stands under ``path`` (or another of :data:`PATH_FIELDS`), relative to the list or as a URL, its
    caption under ``caption``, ``text`` or ``prompt``, or beside the file in ``NAME.json`` or
    ``NAME.txt``.

    Raises:
        ValueError: where there is no such list, or an entry that names no file.
    """
    distant = is_distant(path)
    base = str(path).rpartition("/")[0] if distant else Path(path).parent
    if distant:
        return _in_memory(path, base)
    if not Path(path).is_file():
        raise ValueError(f"no list of files {path}: give the path of a {', '.join(ENDINGS)} file")
    facts = os.stat(path)
    if facts.st_size < LARGE:
        return _in_memory(path, base)
    where = of_this_machine() / "lists"
    folder = where / checksum(str(Path(path).resolve()))[:16]
    key = [FORMAT, facts.st_size, facts.st_mtime_ns]
    where.mkdir(parents=True, exist_ok=True)
    # One of a machine's processes reads the list, the others wait for it.
    with FileLock(where / f"{folder.name}.lock"):
        told = _kept(folder, key)
        if told is None:
            told = _keep(path, folder, key)
    say_where(str(path), Counter(told))
    with open(folder / "text.bin", "rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    ends, images = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ends", "images"))
    return ListedFiles(base, text, ends, images)


def _kept(folder: Path, key: list[int]) -> dict[str, int] | None:
    """Where captions were found, of columns that are kept; None where there are none of this
    list.
    """
    try:
        kept = read_json(folder / "list.json")
        return kept["told"] if kept["key"] == key else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _keep(path: str | Path, folder: Path, key: list[int]) -> dict[str, int]:
    """Write a list's columns into a folder; where captions were found."""
    with replacing(folder) as partial:
        partial.mkdir()
        with open(partial / "text.bin", "wb") as text:
            ends, images, told = _columns(path, text.write)
        np.save(partial / "ends.npy", ends)
        np.save(partial / "images.npy", images)
        write_json(partial / "list.json", {"key": key, "told": told})
    return told


def _in_memory(path: str | Path, base: Path | str) -> ListedFiles:
    text = bytearray()
    ends, images, told = _columns(path, text.extend)
    say_where(str(path), Counter(told))
    return ListedFiles(base, bytes(text), ends, images)


def _columns(path: str | Path, write: Any) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """A list's columns but for the text, which is given to ``write``; and how many captions were
    found where.
    """
    lengths, images, parts, told = array("Q"), bytearray(), list[bytes](), Counter[str]()
    base = str(path).rpartition("/")[0] if is_distant(path) else Path(path).parent
    try:
        rows = _rows(path)
        files, captions, found_in = next(rows)
        for number, row in enumerate(rows, 1):
            name = next((row[i] for i in files if row[i]), None)
            if not isinstance(name, str):
                raise _NoFileError(number, row)
            caption, where = "", NOWHERE
            for i in captions:
                if isinstance(text := row[i], str) and (text := text.strip()):
                    caption, where = text, found_in[i]
                    break
            else:
                file = _named_in(base, name)
                if isinstance(file, Path) and (near := beside(file)):
                    caption, where = near
            parts.append(name.encode(errors="surrogateescape"))
            parts.append(caption.encode(errors="replace"))
            images.append(name.lower().endswith(IMAGES))
            told[where] += 1
            if len(parts) >= AT_ONCE:
                _write_parts(parts, lengths, write)
        _write_parts(parts, lengths, write)
    except _NoFileError as error:
        number, row = error.args
        raise ValueError(
            f"entry {number} of {path} names no file: each needs one under "
            f"{' or '.join(PATH_FIELDS)}, got {list(row)}"
        ) from None
    except (ValueError, csv.Error) as error:  # no UTF-8 among them
        raise ValueError(f"{path} does not read as a list: {error}") from error
    if not images:
        raise ValueError(f"{path} names no file: each line below the first is one")
    return (
        np.frombuffer(lengths, dtype=np.uint64).astype(np.int64).cumsum().reshape(-1, 2),
        np.frombuffer(images, dtype=bool),
        dict(told),
    )


def _write_parts(parts: list[bytes], lengths: array, write: Any) -> None:
    """Write parts at once, note their lengths, and let them go."""
    write(b"".join(parts))
    lengths.extend(map(len, parts))
    parts.clear()


class _NoFileError(Exception):
    """An entry (its number, its values) that names no file."""


def _rows(path: str | Path) -> Iterator[Any]:
    """First which columns are of files and of captions, the first first, and what each is called;
    then the rows.
    """
    if str(path).lower().endswith(".parquet"):
        return _rows_of_parquet(path)
    of_csv = str(path).lower().endswith(".csv")
    return _lines_of(path, _rows_of_csv if of_csv else _rows_of_jsonl)


def _lines_of(path: str | Path, read: Any) -> Iterator[Any]:
    with _opened(path) as lines:
        yield from read(lines)


@contextmanager
def _opened(path: str | Path) -> Iterator[Iterable[str]]:
    if is_distant(path):
        yield StringIO(content_at(str(path)).decode("utf-8-sig"), newline="")
        return
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield file


def _places(columns: Sequence[str]) -> tuple[list[int], list[int], list[str]]:
    files = [columns.index(name) for name in PATH_FIELDS if name in columns]
    captions = [columns.index(name) for name in FIELDS if name in columns]
    return files, captions, [f"the column {name}" for name in columns]


class _Remembered:
    """Lines, the last of which can be looked at; empty ones before the first are left out."""

    def __init__(self, lines: Iterable[str]):
        self._lines, self.last, self._begun = iter(lines), "", False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.last = next(self._lines)
        while not self._begun and not self.last.strip():
            self.last = next(self._lines)
        self._begun = True
        return self.last


def _rows_of_csv(lines: Iterable[str]) -> Iterator[Any]:
    """Rows by column. What stands behind the last column belongs to it where it is a caption's: its
    commas were not quoted.
    """
    remembered = _Remembered(lines)
    reader = csv.reader(remembered, skipinitialspace=True)
    columns = [name.strip() for name in next(reader, [])]  # none of an empty file
    yield _places(columns)
    width = len(columns)
    for row in reader:
        if len(row) == width:
            yield row
            continue
        if not row:
            continue
        if len(row) > width:
            if columns[-1] not in FIELDS:
                raise ValueError(
                    f"line {reader.line_num} has more values than there are columns: quote what "
                    "holds commas"
                )
            line = remembered.last.strip()
            whole = line.split(",", width - 1)[-1].strip()
            row = [*row[: width - 1], ", ".join(row[width - 1 :]) if '"' in line else whole]
        yield row + [""] * (width - len(row))


def _rows_of_jsonl(lines: Iterable[str]) -> Iterator[Any]:
    names = (*PATH_FIELDS, *FIELDS)
    yield _places(names)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}, {error.msg}") from error
        get = row.get if isinstance(row, dict) else {}.get
        yield [get(name) for name in names]


def _rows_of_parquet(path: str | Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, BufferReader
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: pip install 'ssvae[cloud]'") from error
    try:
        content = BufferReader(content_at(str(path))) if is_distant(path) else str(path)
        with ParquetFile(content) as file:
            columns = [name for name in (*PATH_FIELDS, *FIELDS) if name in file.schema_arrow.names]
            yield _places(columns)
            for batch in file.iter_batches(AT_ONCE, columns=columns):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except ArrowException as error:
        raise ValueError(str(error)) from error


def _named_in(base: Path | str, name: str) -> Path | str:
    """A file that a list names: by a URL, or relative to the list."""
    if is_distant(name):
        return name
    return f"{base}/{name}" if isinstance(base, str) else base / name
