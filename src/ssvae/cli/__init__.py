"""The command line: one command a function; tyro makes the interface from its types.

Only the command that is asked for is imported, for torch and diffusers take seconds.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from ssvae.cli.commands import COMMANDS, GROUPS
from ssvae.cli.configs import SAVE, saving, taken, with_settings
from ssvae.cli.help import help_of
from ssvae.cli.interface import interface_of, meant, understood

HELP = ("-h", "--help", "--help-all")


def tyro_config() -> tuple[Any, ...]:
    """How commands' types are read."""
    import tyro

    return (tyro.conf.CascadeSubcommandArgs,)


def main() -> None:
    """The entry point of the command ``ssvae``."""
    words = sys.argv[1:]
    if words == ["--version"]:
        _print(f"ssvae {version('ssvae')}")
        return
    group = words[0] if words and words[0] in GROUPS else ""
    rest = words[1:] if group else words
    if not rest or rest[0] in HELP:
        _print_commands(group)
        sys.exit(0 if rest else 2)
    name = f"{group} {rest[0]}".strip()
    if name not in COMMANDS:
        known = [n for n in (*COMMANDS, *GROUPS) if n.startswith(f"{group} ".lstrip())]
        _refuse(f"there is no command {name}{meant(name, known) or ':'} ssvae --help lists all")
    own = rest[: rest.index("--")] if "--" in rest else rest
    if any(word in HELP for word in own):
        sys.stdout.write(help_of(name, interface_of(name), rest[1:]) + "\n")
        return
    _run(name, rest[1:])


def _run(name: str, words: Sequence[str]) -> None:
    end = words.index("--") if "--" in words else len(words)
    words, another = words[:end], words[end:]  # another command, of which this one is about
    try:
        words, saved = taken(words, SAVE)
        words = with_settings(interface_of(name), words)
        recipe = understood(name, words)
    except ValueError as error:
        _refuse(str(error))

    from ssvae.cli.console import configure_logging, errors_in_one_line, exit_without_teardown
    from ssvae.cli.numbers import with_checked_numbers

    debug = "--debug" in words
    with errors_in_one_line(debug):
        function = with_checked_numbers(COMMANDS[name].load(name))
        configure_logging(debug)
        if saved is not None:
            function = saving(function, saved, recipe)
        import tyro

        tyro.cli(function, prog=f"ssvae {name}", args=[*words, *another], config=tyro_config())
    exit_without_teardown()


def _refuse(text: str) -> NoReturn:
    _print(f"error: {text}", stderr=True, style="red")
    sys.exit(2)


def _print_commands(group: str) -> None:
    """What there is, in a group or in all."""
    from rich.table import Table

    listed: Mapping[str, str] = {
        name.removeprefix(f"{group} "): command.summary
        for name, command in COMMANDS.items()
        if (name.startswith(f"{group} ") if group else " " not in name)
    }
    head = f"ssvae {group}".strip()
    _print(f"usage: {head} COMMAND [OPTIONS]\n")
    _print(GROUPS.get(group, "Video autoencoders whose latents are easy to diffuse.") + "\n")
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, summary in (listed if group else listed | GROUPS).items():
        table.add_row(name, summary)
    _print(table)
    _print(f"\n{head} COMMAND --help tells more; ssvae --version the version.")


def _print(what: Any, stderr: bool = False, style: str | None = None) -> None:
    from rich.console import Console

    Console(stderr=stderr).print(
        what, style=style, highlight=False, soft_wrap=isinstance(what, str), markup=False
    )
