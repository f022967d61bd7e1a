"""The command that completes all others in a shell."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import tyro

from ssvae.cli.commands import COMMANDS, GROUPS
from ssvae.cli.help import RESUME, SETTINGS
from ssvae.cli.interface import Interface, Option, interface_of


def completion(shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]) -> None:
    """Print a script that completes commands, recipes and options in your shell.

    bash: source <(ssvae completion bash). zsh: the same after compinit. fish: ssvae completion fish
    | source. In the shell's start-up file it holds for every session.

    Args:
        shell: Which shell.
    """
    commands = {name: interface_of(name) for name in COMMANDS}
    if shell == "fish":
        summaries = {name: command.summary for name, command in COMMANDS.items()} | GROUPS
        lines = _fish(commands, list(GROUPS), summaries)
    else:
        lines = _bash(commands, list(GROUPS))
    sys.stdout.write("\n".join(lines) + "\n")


def _options(interface: Interface) -> list[Option]:
    """All that a command takes by name, whichever its recipe."""
    of = [interface, *interface.recipes.values()]
    own = {o.names: o for each in of for o in each.options if not o.positional}
    return [*own.values(), *((RESUME,) if interface.recipes else ()), *SETTINGS]


def _names(interface: Interface) -> list[str]:
    return [name for option in _options(interface) for name in option.names] + ["--help"]


def _bash(commands: Mapping[str, Interface], groups: Sequence[str]) -> Iterator[str]:
    """For zsh too, which reads bash's."""
    tops = sorted({name.split()[0] for name in commands})
    yield "# ssvae completion bash"
    yield '[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit'
    yield '_ssvae_offer() { COMPREPLY=($(compgen -W "$1" -- "$word")); }'
    yield "_ssvae() {"
    yield "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield '  local command=${COMP_WORDS[1]} options="" recipes=""'
    yield f'  [ "$COMP_CWORD" = 1 ] && _ssvae_offer "{" ".join(tops)}" && return'
    for group in groups:
        inside = " ".join(name.split()[1] for name in commands if name.startswith(f"{group} "))
        yield f'  if [ "$command" = {group} ]; then'
        yield f'    [ "$COMP_CWORD" = 2 ] && _ssvae_offer "{inside}" && return'
        yield '    command="$command ${COMP_WORDS[2]}"'
        yield "  fi"
    yield '  case "$command" in'
    for name, interface in commands.items():
        yield f'  "{name}") options="{" ".join(_names(interface))}"'
        yield f'    recipes="{" ".join(interface.recipes)}" ;;'
    yield "  esac"
    yield '  case "$command $before" in'
    for name, interface in commands.items():
        for option in _options(interface):
            if option.choices:
                choices = " ".join(option.choices)
                yield f'  "{name} {option.names[0]}") _ssvae_offer "{choices}"; return ;;'
    yield "  esac"
    yield '  case "$word" in'
    yield '  -*) _ssvae_offer "$options" ;;'
    yield '  *) [ "${before#-}" = "$before" ] && _ssvae_offer "$recipes" ;;'
    yield "  esac"
    yield "}"
    yield "complete -o default -F _ssvae ssvae"


def _fish(
    commands: Mapping[str, Interface], groups: Sequence[str], summaries: Mapping[str, str]
) -> Iterator[str]:
    yield "# ssvae completion fish"
    tops = sorted({name.split()[0] for name in commands})
    none = f"not __fish_seen_subcommand_from {' '.join(tops)}"
    for name in tops:
        what = _quoted(summaries[name])
        yield f"complete -c ssvae -n '{none}' -f -a {name} -d '{what}'"
    for name, interface in commands.items():
        seen = " ; and ".join(f"__fish_seen_subcommand_from {part}" for part in name.split())
        for group in (g for g in groups if name.startswith(f"{g} ")):
            inside = name.split()[1]
            yield f"complete -c ssvae -n '__fish_seen_subcommand_from {group}' -f -a {inside}"
        if interface.recipes:
            recipes = " ".join(interface.recipes)
            without = f"{seen} ; and not __fish_seen_subcommand_from {recipes}"
            yield f"complete -c ssvae -n '{without}' -f -a '{recipes}'"
        for option in _options(interface):
            takes = f" -x -a '{' '.join(option.choices)}'" if option.choices else ""
            takes = takes or (" -r" if option.value is not None else "")
            for word in option.names:
                name = f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}"
                what = _quoted(option.help)
                yield f"complete -c ssvae -n '{seen}' {name}{takes} -d '{what}'"


def _quoted(text: str) -> str:
    return text.split(". ")[0].replace("\\", "\\\\").replace("'", "\\'")
