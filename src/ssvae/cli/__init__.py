"""The command line: one command a function; tyro makes the interface from its types."""

import inspect
import sys
from importlib.metadata import version

import tyro
from rich import box
from rich.table import Table

from ssvae.cli.analysis import analyze
from ssvae.cli.bench import diffusability, interventions, train_probe
from ssvae.cli.convert import convert, stats
from ssvae.cli.data import shards
from ssvae.cli.diffusion import cache_latents, export, generate, shape, train_diffusion
from ssvae.cli.evaluation import compare, generation, reconstruction, reward
from ssvae.cli.vae import demo, train
from ssvae.cli.video import decode, encode, reconstruct
from ssvae.console import configure_logging, console, errors_in_one_line, leave
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


def main() -> None:
    """The entry point of the command ``ssvae``."""
    if sys.argv[1:] == ["--version"]:
        console.print(f"ssvae {version('ssvae')}", highlight=False)
        return
    app, bench, evaluate = (tyro.extras.SubcommandApp() for _ in range(3))
    for command in (diffusability, interventions):
        bench.command(command)
    for command in (reconstruction, generation, reward, compare):
        evaluate.command(command)
    for command in (
        *(demo, train, analyze),
        *(shards, encode, decode, reconstruct, convert, stats),
        *(cache_latents, train_diffusion, generate, export, shape, train_probe),
    ):
        app.command(command)
    app.command(evaluate, name="evaluate", help="Scores of reconstructions and of generated clips.")
    app.command(bench, name="bench", help="Experiments: which latents are easy to diffuse?")
    app.command(recipes)
    debug = "--debug" in sys.argv
    configure_logging(debug)
    with errors_in_one_line(debug):
        app.cli(
            prog="ssvae",
            description="Video autoencoders whose latents are easy to diffuse. "
            "ssvae COMMAND --help tells more; ssvae --version the version.",
            config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.FlagCreatePairsOff),
        )
    leave()
