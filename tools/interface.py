"""Every command's options, read from its types: ``python -m tools.interface`` writes them into the
package, so that help and completion need not import torch.

``tests/test_interface.py`` checks that they are fresh.
"""

import inspect
import json
import re
import warnings
from pathlib import Path
from typing import Any

import tyro

from ssvae.cli import COMMANDS, tyro_config
from ssvae.cli.numbers import with_checked_numbers

PLACE = Path(__file__).parents[1] / "src" / "ssvae" / "cli" / "interface.json"
DEFAULT = re.compile(r"\s*\((?:default: (?P<value>.*)|required)\)\s*$", re.DOTALL)
INNERMOST = re.compile(r"\{[^{}]*\}|\[[^\[\]{}]*\]")
"""Objects and lists that hold no others."""
ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`|``([^`]*)``")


def interface() -> dict[str, Any]:
    """All commands; see :mod:`ssvae.cli.interface`."""
    return {name: _command(name) for name in COMMANDS}


def _command(name: str) -> dict[str, Any]:
    function = with_checked_numbers(COMMANDS[name].load(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it works until it is gone
        parser: Any = tyro.extras.get_parser(function, prog=f"ssvae {name}", config=tyro_config())
    text = inspect.getdoc(function) or ""
    described = {"description": _plain(text.split("\nArgs:")[0].strip())}
    recipes = next((a.choices for a in parser._actions if isinstance(a.choices, dict)), None)
    if recipes is None:
        return described | {"options": _options(parser)}
    found: dict[str, Any] = {}
    records: list[Any] = []
    for recipe, inner in recipes.items():
        numbers = []
        for record in _options(inner):
            default = record.pop("default", None)
            if record not in records:
                records.append(record)
            numbers.append([records.index(record), default])
        found[recipe] = {"description": _plain(inner.description), "options": numbers}
    return described | {"records": records, "recipes": found}


def _options(parser: Any) -> list[dict[str, Any]]:
    options = []
    for action in parser._actions:
        if action.dest == "help":
            continue
        default = DEFAULT.search(action.help or "")
        record: dict[str, Any] = {
            "names": list(action.option_strings) or [action.dest],
            "help": _plain(DEFAULT.sub("", action.help or "")),
        }
        if action.nargs != 0 and "BooleanOptional" not in type(action).__name__:
            record["value"] = re.sub(r"\{None\}\|", "", str(action.metavar)).strip("{}")
        if not action.option_strings:
            record["positional"] = True
        if "Append" in type(action).__name__:
            record["repeated"] = True
        if action.choices:
            choices = [c for c in map(str, action.choices) if c != "None"]
            # Of a set, which has no order.
            record["choices"] = ["True", "False"] if set(choices) == {"True", "False"} else choices
            record["value"] = "|".join(record["choices"])
        if default is not None and default["value"] is not None:
            record["default"] = default["value"]
        options.append(record)
    return options


def _plain(text: str) -> str:
    """Text without the roles of a documentation's markup, a paragraph a line."""
    text = ROLE.sub(lambda found: found[1] or found[2], text)
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def written() -> str:
    """The file's text, an option a line."""
    text = json.dumps(interface(), indent=1, ensure_ascii=False)
    return INNERMOST.sub(lambda found: re.sub(r"\n\s*", " ", found[0]), text) + "\n"


if __name__ == "__main__":
    PLACE.write_text(written())
