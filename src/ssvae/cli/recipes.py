"""The command that lists recipes."""

from rich import box
from rich.table import Table

from ssvae.cli.console import console
from ssvae.cli.interface import interface_of


def recipes() -> None:
    """List the training recipes."""
    for command in ("train", "train-diffusion"):
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column(f"ssvae {command}", no_wrap=True)
        table.add_column("what it is")
        table.add_column("steps", justify="right")
        for name, recipe in interface_of(command).recipes.items():
            steps = recipe.by_key["steps"].default
            table.add_row(name, recipe.description.split("\n")[0], steps)
        console.print(table)
