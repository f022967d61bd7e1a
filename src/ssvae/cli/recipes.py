"""The command that lists recipes."""

import inspect

from rich import box
from rich.table import Table

from ssvae.cli.console import console
from ssvae.recipes import DIFFUSION_RECIPES, RECIPES


def recipes() -> None:
    """List the training recipes."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("command", "recipe", "steps", ""):
        table.add_column(column)
    for command, choices in (("train", RECIPES), ("train-diffusion", DIFFUSION_RECIPES)):
        for name, make in choices.items():
            line = inspect.cleandoc(make.__doc__ or "").split("\n")[0]
            table.add_row(command, name, str(make().steps), line)
    console.print(table)
