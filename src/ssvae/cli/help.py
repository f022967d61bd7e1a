"""What ``--help`` prints, made from the commands' options and nothing that takes time to import."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from textwrap import wrap

from ssvae.cli.interface import Interface, Option, recipe_in

WIDEST = 100
NAMES = 26  # columns of the names; longer ones have a line of their own
CONFIG = "Take options from a file, .toml or .json, or a run's config.json."
SAVE = "Write all settings into this file, .json, for --config."
SETTINGS = (
    Option(("--config",), CONFIG, "FILE", default=""),
    Option(("--save-config",), SAVE, "FILE", default=""),
)
"""What every command takes besides its own."""
SHARED = ("--device", "--dtype", "--cudnn-benchmark", "--debug")
RESUME = Option(("--resume",), "Go on with this run under its own settings.", "RUN", default="")


def help_of(command: str, interface: Interface, words: list[str]) -> str:
    """The help that these words ask for: of a command, a recipe of it, or a group of settings."""
    asked = next(word for word in words if word in ("-h", "--help", "--help-all"))
    behind = words[words.index(asked) + 1 :]
    head, recipe = f"ssvae {command}", ""
    if interface.recipes:
        recipe = recipe_in(words, interface) or ""
        if not recipe:
            return "\n".join(_recipes(head, interface))
        interface, head = interface.recipes[recipe], f"{head} {recipe}"
    if asked == "--help-all":
        return "\n".join([*_head(head, interface), *_listed([*interface.options, *SETTINGS])])
    groups = [option.group for option in interface.options if option.group]
    if behind and behind[0] in groups:
        return "\n".join(_listed(o for o in interface.options if o.group == behind[0]))
    return "\n".join(_first_level(head, interface, bool(recipe), list(dict.fromkeys(groups))))


def _recipes(head: str, interface: Interface) -> Iterator[str]:
    yield f"usage: {head} RECIPE [OPTIONS]"
    yield ""
    yield from _paragraphs(interface.description)
    yield "recipes"
    for name, recipe in interface.recipes.items():
        yield from _entry(name, recipe.description.split("\n")[0])
    yield ""
    yield from _paragraphs(f"{head} RECIPE --help tells a recipe's options.")


def _head(head: str, interface: Interface) -> Iterator[str]:
    arguments = [o for o in interface.options if o.positional]
    named = " ".join(
        o.key.upper() if o.required else f"[{o.key.upper()}{' ...' * ('...' in (o.value or ''))}]"
        for o in arguments
    )
    needed = " ".join(f"{o.names[0]} {o.value}" for o in interface.options if _is_needed(o))
    yield from _wrapped(f"usage: {head} {named} {needed} [OPTIONS]", _width())
    yield ""
    yield from _paragraphs(interface.description)


def _first_level(
    head: str, interface: Interface, of_recipe: bool, groups: list[str]
) -> Iterator[str]:
    yield from _head(head, interface)
    own = [o for o in interface.options if not o.group]
    fields: list[Option] = []
    if of_recipe:  # its fields come before the command's own options
        first = next(i for i, o in enumerate(interface.options) if o.names[0] == "--out")
        fields = [o for o in interface.options[:first] if not o.group]
        own = [o for o in own if o not in fields]
        needed = [o for o in fields if _is_needed(o)]
        own, fields = needed + own, [o for o in fields if o not in needed]
    shared = [o for o in own if o.names[0] in SHARED]
    yield from _listed([*(o for o in own if o not in shared), *((RESUME,) if of_recipe else ())])
    yield ""
    alike = [f"{o.names[0]} {o.value or ''}".strip() for o in (*shared, *SETTINGS)]
    yield from _paragraphs(f"options of every command (--help-all tells them): {', '.join(alike)}")
    if fields:
        yield from _paragraphs("settings: " + ", ".join(o.key.replace("_", "-") for o in fields))
    if groups:
        one = "lcr" if "lcr" in groups else groups[0]
        yield from _paragraphs(
            "groups of settings: " + ", ".join(groups) + f". {head} --help {one} tells one, "
            "--help-all all."
        )


def _is_needed(option: Option) -> bool:
    return option.required and not option.positional


def _listed(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        name = option.key.upper() if option.positional else ", ".join(option.names)
        if len(option.names) > 1 and "no-" in option.names[-1]:
            name = option.names[-1].replace("no-", "[no-]")
        value = "" if option.value is None or option.positional else f" {option.value}"
        default = "on" if option.value is None and option.default == "True" else option.default
        default = "" if default in (None, "", "None", "False") else f" [{default}]"
        yield from _entry(name + value, option.help + default)


def _entry(name: str, text: str) -> Iterator[str]:
    """A name, and beside it what it is."""
    width = _width()
    lines = _wrapped(text, width - NAMES - 4) or [""]
    shown = _bold(name)
    if len(name) > NAMES:
        yield f"  {shown}"
    else:
        yield f"  {shown}{' ' * (NAMES - len(name))}  {lines.pop(0)}".rstrip()
    yield from (" " * (NAMES + 4) + line for line in lines)


def _paragraphs(text: str) -> Iterator[str]:
    for part in text.split("\n\n"):
        yield from _wrapped(part, _width())
        yield ""


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(" ".join(text.split()), width, break_on_hyphens=False)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, WIDEST)


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text
