"""The command that lists the models that come with the package."""

from pathlib import Path

import tyro
from rich import box
from rich.table import Table

from ssvae.cli.console import console
from ssvae.models.shipped import Card, shipped_folder, shipped_models


def models(name: tyro.conf.Positional[str | None] = None) -> None:
    """List the models that come with ssvae; with a name, how one was made and what it scores.

    Each name stands wherever a command takes a model: ssvae reconstruct IN OUT --model film.

    Args:
        name: A model, to see its card.
    """
    known = shipped_models()
    if name is None:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("model", no_wrap=True)
        table.add_column("what it is")
        for column in ("parameters", "MB"):
            table.add_column(column, justify="right")
        table.add_column("first of its scores")
        for each, card in known.items():
            score, value = next(iter(card.scores.items()))
            table.add_row(
                each,
                f"{card.summary}; {card.layout}",
                f"{card.parameters / 1e6:.1f} M",
                f"{_megabytes(each):.1f}",
                f"{score.partition(',')[0]}: {value:.3g}",
            )
        console.print(table)
        return
    folder = shipped_folder(name)
    if folder is None:
        raise ValueError(f"the models that come with ssvae are {', '.join(known)}, got {name}")
    _print_card(known[folder.name], folder)


def _print_card(card: Card, folder: Path) -> None:
    lines = [
        f"{folder.name}: {card.summary}",
        f"{card.kind}, {card.parameters / 1e6:.1f} M parameters, {card.layout}",
        f"files: {folder}",
        f"data: {card.data}",
        f"seed {card.seed}, trained by",
        *(f"  {command}" for command in card.commands),
        "scores",
        *(f"  {what}: {value:.4g}" for what, value in card.scores.items()),
    ]
    console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)


def _megabytes(name: str) -> float:
    folder = shipped_folder(name)
    assert folder is not None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
