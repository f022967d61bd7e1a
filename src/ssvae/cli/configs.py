"""Settings in files: ``--config``, ``--save-config`` and ``--resume``, as options of a command."""

import dataclasses
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

from ssvae.cli.interface import Interface, Option, meant, recipe_in
from ssvae.storage.files import check_file, write_text
from ssvae.storage.settings import as_json, flat

CONFIG, SAVE, RESUME = "--config", "--save-config", "--resume"
RECIPE = "recipe"
"""In a file of settings: the recipe's name."""
OF_THE_RUN = {"dtype", "processes"}
"""What a run's config.json holds besides its recipe: the first is an option, the second is not."""


def taken(words: Sequence[str], option: str) -> tuple[list[str], str | None]:
    """Words without an option and its value, and the value; a ValueError where it has none."""
    left, value = list[str](), None
    rest = iter(words)
    for word in rest:
        name, equals, given = word.partition("=")
        if name.replace("_", "-") != option:
            left.append(word)
            continue
        value = given if equals else next(rest, None)
        if not value or value.startswith("--"):
            raise ValueError(f"{option} takes a value")
    return left, value


def with_settings(interface: Interface, words: Sequence[str]) -> list[str]:
    """A command's words with those that ``--config`` or ``--resume`` stand for; what is typed
    counts before what a file says.

    Raises:
        ValueError: for a file that does not read, or names what the command does not take.
    """
    words, resumed = taken(words, RESUME)
    words, file = taken(words, CONFIG)
    if resumed is None and file is None:
        return words
    if resumed is not None:
        if not interface.recipes or file is not None:
            raise ValueError("--resume takes a run of train or train-diffusion, without --config")
        file = str(Path(resumed) / "config.json")
        words += ["--out", resumed]
    settings = flat(_read(Path(str(file))))
    typed = {word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")}
    named = []
    if interface.recipes:
        given = recipe_in(words, interface)
        recipe = _recipe_of(interface, settings, given, str(file))
        named, interface = [] if given else [recipe], interface.recipes[recipe]
    settings.pop(RECIPE, None)
    return [*named, *_words(interface, settings, typed, str(file)), *words]


def saving(function: Callable[..., Any], file: str, recipe: str | None) -> Callable[..., Any]:
    """A command that writes its settings into a file for ``--config`` before it does its work."""
    if not file.endswith(".json"):
        raise ValueError(f"{SAVE} writes a file .json, got {file}")

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        given = signature(function).bind(*arguments, **options)
        given.apply_defaults()
        settings: dict[str, Any] = {} if recipe is None else {RECIPE: recipe}
        for name, value in given.arguments.items():
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                settings |= dataclasses.asdict(value)
            else:
                settings[name] = value
        check_file(Path(file))
        write_text(Path(file), json.dumps(as_json(settings), indent=2) + "\n")
        return function(*arguments, **options)

    return run


def _read(file: Path) -> dict[str, Any]:
    try:
        read = tomllib.loads if file.suffix == ".toml" else json.loads
        settings = read(file.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {file}: --config takes one, --resume a run") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{file} does not read as TOML or JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(
            f"{file} must hold settings by their names, got a {type(settings).__name__}"
        )
    return settings


def _recipe_of(
    interface: Interface, settings: Mapping[str, Any], given: str | None, file: str
) -> str:
    """The recipe that settings are of: the one that is typed or named, or the first with all of
    them.
    """
    named = given or settings.get(RECIPE)
    if named is not None:
        if named not in interface.recipes:
            raise ValueError(f"{file} names no recipe: {named}{meant(named, interface.recipes)}")
        return str(named)
    keys = set(settings) - OF_THE_RUN
    for name, recipe in interface.recipes.items():
        if keys <= set(recipe.by_key):
            return name
    recipe = max(interface.recipes, key=lambda n: len(keys & set(interface.recipes[n].by_key)))
    unknown = sorted(keys - set(interface.recipes[recipe].by_key))
    raise ValueError(f"{file} is of no recipe of this command: {', '.join(unknown)} is unknown")


def _words(
    interface: Interface, settings: Mapping[str, Any], typed: set[str], file: str
) -> list[str]:
    """Settings as words, but for those that are typed."""
    known, words, last = interface.by_key, list[str](), list[str]()
    for key, value in settings.items():
        if key == "processes" and key not in known:
            continue
        option = known.get(key.replace("-", "_"))
        if option is None:
            raise ValueError(f"{file} holds {key}, which is no setting here{meant(key, known)}")
        if typed & set(option.names):
            continue
        (last if option.positional else words).extend(_typed(option, value))
    return words + last


def _typed(option: Option, value: Any) -> list[str]:
    """An option with a value, as it would be typed."""
    name = [] if option.positional else [option.names[0]]
    if option.value is None:
        return name if value else [option.names[-1]] if len(option.names) > 1 else []
    values = [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
    return [word for each in values for word in (*name, each)] if option.repeated else name + values
