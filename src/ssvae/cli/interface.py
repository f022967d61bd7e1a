"""The options of every command, without importing what the commands need.

They are read from a file that ``python -m tools.interface`` makes of the commands' types.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("interface.json")


@dataclass(frozen=True)
class Option:
    """An option of a command, or a positional argument."""

    names: tuple[str, ...]
    """As they are typed; of a switch the one that turns it on, and the one that turns it off."""
    help: str
    value: str | None = None
    """What stands behind it; None behind a switch."""
    default: str | None = None
    """None where it must be given."""
    choices: tuple[str, ...] = ()
    positional: bool = False
    repeated: bool = False
    """Whether several values take the option several times."""

    @property
    def key(self) -> str:
        """Its name in files of settings, such as "gan.weight"."""
        return self.names[0].removeprefix("--").replace("-", "_")

    @property
    def group(self) -> str:
        """What stands before the first dot of its name, if anything."""
        head, dot, _ = self.names[0].removeprefix("--").partition(".")
        return head if dot else ""

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is None and self.value is not None


@dataclass(frozen=True)
class Interface:
    """What a command takes."""

    description: str
    options: tuple[Option, ...]
    """Of commands that take recipes, none."""
    recipes: Mapping[str, "Interface"]

    @property
    def by_key(self) -> Mapping[str, Option]:
        """The options by their names in files of settings."""
        return {option.key: option for option in self.options}


def recipe_in(words: Sequence[str], interface: Interface) -> str | None:
    """The recipe that is typed, if any: a word that is no option's value, as the name of a run's
    folder may be.
    """
    taking = {
        name
        for recipe in interface.recipes.values()
        for option in recipe.options
        if option.value is not None and not option.positional
        for name in option.names
    }
    for before, word in zip(["", *words], words, strict=False):
        if word in interface.recipes and before.replace("_", "-") not in taking:
            return word
    return None


def understood(command: str, words: Sequence[str]) -> str | None:
    """The recipe that is typed, where the command takes one.

    A ValueError for a recipe or an option that is none, or is missing: at once, for what knows the
    types takes seconds to import.
    """
    interface, asked, recipe = interface_of(command), f"ssvae {command}", None
    if recipes := interface.recipes:
        recipe = recipe_in(words, interface)
        if recipe is None:
            first, found = next(iter(words), ""), f"{asked} takes a recipe"
            if first and not first.startswith("-"):
                found = f"there is no recipe {first}{meant(first, recipes)}"
            raise ValueError(f"{found} (recipes: {', '.join(recipes)})")
        interface, asked = recipes[recipe], f"{asked} {recipe}"
    typed = [w.partition("=")[0].replace("_", "-") for w in words if w.startswith("--")]
    known = [name for option in interface.options for name in option.names]
    for name in typed:
        if name not in known:
            raise ValueError(f"{asked} has no option {name}{meant(name, known) or ':'} see --help")
    for option in interface.options:
        several = "..." in (option.value or "") and not option.repeated
        if several and sum(name in option.names for name in typed) > 1:
            raise ValueError(f"{option.names[0]} is typed twice: give all its values behind one")
        needed = option.required and not option.positional and not option.repeated
        if needed and not set(option.names) & set(typed):
            raise ValueError(f"{asked} needs {option.names[0]} {option.value}: {option.help}")
    return recipe


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known."""
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


@cache
def interface_of(command: str) -> Interface:
    """What a command takes."""
    described = _all()[command]
    records = described.get("records", [])
    recipes = {
        name: Interface(
            recipe["description"],
            tuple(_option(records[i] | {"default": default}) for i, default in recipe["options"]),
            {},
        )
        for name, recipe in described.get("recipes", {}).items()
    }
    options = tuple(map(_option, described.get("options", [])))
    return Interface(described["description"], options, recipes)


@cache
def _all() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def _option(record: Mapping[str, Any]) -> Option:
    choices: Sequence[str] = record.get("choices", ())
    return Option(**dict(record) | {"names": tuple(record["names"]), "choices": tuple(choices)})
