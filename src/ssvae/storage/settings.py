"""Work that was stopped goes on under the settings it began with, or not at all."""

import dataclasses
import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from ssvae.storage.files import write_json

LONGEST = 60  # characters of a value that are told


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their full names, such as "gan.weight"."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = prefix + key
        found |= flat(value, name + ".") if isinstance(value, dict) else {name: value}
    return found


def replaced(settings: Any, name: str, value: Any) -> Any:
    """A dataclass of settings with another value under a full name, such as "gan.weight"."""
    return changed(settings, {name: value})


def changed(settings: Any, changes: Mapping[str, Any]) -> Any:
    """A dataclass of settings with other values under full names, all at once."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = value
    fields = {
        head: rests[""] if "" in rests else changed(getattr(settings, head), rests)
        for head, rests in groups.items()
    }
    return dataclasses.replace(settings, **fields)


def check_same_settings(
    what: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    free: Container[str] = (),
    remedy: str = "choose another folder",
) -> None:
    """A ValueError that names what has changed between settings, but for those that are
    ``free``.
    """
    one, two = flat(before), flat(now)
    differences = [
        f"{name} was {_shortened(one.get(name))} and is {_shortened(two.get(name))}"
        for name in sorted(one | two)
        if one.get(name) != two.get(name) and name not in free
    ]
    if differences:
        raise ValueError(
            f"{what} began with other settings ({', '.join(differences)}): keep them, or {remedy}"
        )


def keep_settings(path: Path, what: str, settings: Mapping[str, Any]) -> None:
    """Write settings down where none are yet; else a ValueError where they have changed."""
    now = as_json(settings)
    if path.exists():
        check_same_settings(what, json.loads(path.read_text()), now)
    else:
        write_json(path, now)


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are read again: tuples as lists, other objects as text."""
    return json.loads(json.dumps(settings, default=str))


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
