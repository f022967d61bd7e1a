"""Checksums: they tell a file that was damaged on a disk from one that is as it was written."""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from ssvae.storage.files import SEAL, of_this_machine, sealed_above, write_json, write_text

LARGE = 2**24
"""Bytes of a file from which on its digest is kept for other processes of this machine."""


def digest(path: Path) -> str:
    """The SHA-256 of a file, which is read once unless its size or time changes; a large one once
    on a machine, for hundreds of processes may open the same terabytes.
    """
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, changed: int) -> str:
    if size < LARGE:
        return _read(path)
    key = checksum([str(path.resolve()), size, changed])[:32]
    kept = of_this_machine() / "digests" / key[:2] / key
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{kept}.lock"):  # one reads, the others wait for it
            if not kept.exists():
                write_text(kept, _read(path))
            return kept.read_text()
    except OSError:  # no place to keep it, or no file any more
        return _read(path)


def _read(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(content: Any) -> str:
    """The SHA-256 of what JSON can hold, however it is spaced and ordered."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum_of_rows(rows: Iterable[Any]) -> str:
    """The :func:`checksum` of the list of these, of which one is in memory at a time."""
    found, between = hashlib.sha256(b"["), b""
    for row in rows:
        found.update(between + json.dumps(row, sort_keys=True).encode())
        between = b", "
    found.update(b"]")
    return found.hexdigest()


def seal(folder: Path) -> None:
    """Write the checksums of all files below a folder into it, by their paths there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    sums = {path.relative_to(folder).as_posix(): digest(path) for path in files}
    write_json(folder / SEAL, sums, indent=1)


def damaged(folder: Path, part: str = "") -> list[str]:
    """The files in a sealed folder, or below ``part`` of it, that are missing or not as they were
    sealed.

    A folder without a seal tells nothing.
    """
    try:
        sealed = json.loads((folder / SEAL).read_text())
        expected = {name: sha for name, sha in sealed.items() if name.startswith(part)}
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError):
        return [SEAL]
    return [
        name
        for name, sha in expected.items()
        if not (folder / name).is_file() or digest(folder / name) != sha
    ]


def check_whole(folder: Path) -> None:
    """A ValueError where a folder, or the sealed one that it lies in, is not as it was sealed."""
    sealed = sealed_above(folder)
    if sealed is None:
        return
    inside = folder.absolute().relative_to(sealed).as_posix()
    if wrong := damaged(sealed, "" if inside == "." else f"{inside}/"):
        raise ValueError(
            f"{folder} is damaged ({', '.join(wrong)}): put back a copy, or take another checkpoint"
        )
