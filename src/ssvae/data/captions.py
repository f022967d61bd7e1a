"""Captions as data sets hold them: columns and fields, and files beside a film.

Of several the first counts: ``caption``, ``text`` and ``prompt`` of a list, then of ``NAME.json``,
then ``NAME.txt``.
"""

import json
import logging
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from ssvae.storage.distant import content_at

logger = logging.getLogger(__name__)

FIELDS = ("caption", "text", "prompt")
NOWHERE = "nowhere"
_said: set[str] = set()

Told = tuple[str, str]
"""A caption and where it was found, such as "the field prompt"."""


def of_fields(row: Any, where: str = "the field") -> Told | None:
    """The caption among a row's fields; None where there is none, or all are empty."""
    if not isinstance(row, Mapping):
        return None
    for name in FIELDS:
        if isinstance(text := row.get(name), str) and text.strip():
            return text.strip(), f"{where} {name}"
    return None


def of_json(content: bytes) -> Told | None:
    """The caption in a ``.json`` that stands beside a film: an object with its fields."""
    try:
        return of_fields(json.loads(content.decode("utf-8-sig")), ".json, field")
    except ValueError:
        return None


def of_text(content: bytes) -> Told | None:
    """The caption in a ``.txt`` that stands beside a film, which may begin with a byte-order
    mark.
    """
    text = content.decode("utf-8-sig", errors="replace").strip()
    return (text, ".txt") if text else None


def caption_in(url: str) -> str:
    """The caption in a distant ``.json`` or ``.txt``; empty where it holds none."""
    told = (of_json if url.endswith(".json") else of_text)(content_at(url))
    return told[0] if told else ""


def beside(path: Path, there: Container[Path] | None = None) -> Told | None:
    """The caption in a file beside ``path`` that has its name, but for the ending.

    ``there`` are the files that there are, where they are known: no other is looked for.
    """
    for ending, read in ((".json", of_json), (".txt", of_text)):
        file = path.with_suffix(ending)
        present = file.is_file() if there is None else file in there
        if present and (text := read(file.read_bytes())):
            return text
    return None


def say_where(name: str, found: Iterable[str]) -> None:
    """Log once where the captions of a source were found, and how many are empty; ``found`` may be
    counted already.
    """
    if name in _said or not found:
        return
    _said.add(name)
    counts = Counter(found)
    total, empty = counts.total(), counts.pop(NOWHERE, 0)
    for where, count in counts.most_common():
        logger.info("captions of %s: %d from %s", name, count, where)
    if empty:
        logger.warning("captions of %s: %d of %d are empty", name, empty, total)
