"""Numbers on the command line: each is looked at before any work."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import signature
from math import isfinite
from typing import Any

LEAST = {
    **dict.fromkeys(("steps", "clips", "frames", "size", "batch_size", "per_shard", "number"), 1),
    **dict.fromkeys(("shard_clips", "jobs", "side", "guidance"), 1),
    **dict.fromkeys(("seed", "retries", "port"), 0),
}
"""The least that an option may be, in whichever command it is; of several numbers each."""
MOST = {"figure_width": 100, "port": 65_535, "fps": 1000, "seed": 2**63 - 1}
LARGEST = 2**31 - 1
"""The most that any other may be, which is more than any is good for."""
POSITIVE = ("fps", "figure_width", "megabytes", "seconds", "per_minute", "timeout")


def with_checked_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command that refuses nan and inf in any option, and numbers out of range, before any
    work.
    """

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        given = signature(function).bind(*arguments, **options).arguments
        # Options of a dataclass are called as its fields are.
        named = ({"" if is_dataclass(v) else name: v} for name, v in given.items())
        numbers = [pair for one in named for pair in _numbers(one, "")]
        if wrong := [f"--{name} is {value}" for name, value in numbers if not isfinite(value)]:
            raise ValueError(f"numbers must be finite: {', '.join(wrong)}")
        for name, value in given.items():
            each = value if isinstance(value, tuple) else (value,)
            for number in each:
                if isinstance(number, int | float) and (rule := _rule(name, number)):
                    raise ValueError(f"{name.replace('_', '-')} must be {rule}, got {number}")
        return function(*arguments, **options)

    return run


def _rule(name: str, value: float) -> str | None:
    """The rule that a number breaks, in words."""
    if name in POSITIVE and value <= 0:
        return "positive"
    if value < LEAST.get(name, value):
        return f"at least {LEAST[name]}"
    if value > MOST.get(name, LARGEST):
        return f"at most {MOST.get(name, LARGEST)}"
    return None


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """All floats in options, by their names on the command line."""
    if isinstance(value, float):
        yield name, value
        return
    inside: Iterable[tuple[str, Any]] = ()
    if is_dataclass(value) and not isinstance(value, type):
        inside = ((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, tuple | list):
        inside = (("", one) for one in value)
    for key, one in inside:
        option = str(key).replace("_", "-")
        yield from _numbers(one, ".".join(part for part in (name, option) if part))
