"""The command line: one command a function; tyro makes the interface from its types.

Only the command that is asked for is imported, for torch and diffusers take seconds.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Command:
    """Where a command's function is, and what it does, in a line."""

    module: str
    summary: str

    def load(self, name: str) -> Callable[..., Any]:
        """Its function, which is called as the last word of its name."""
        module = import_module(f"ssvae.cli.{self.module}")
        return getattr(module, name.split()[-1].replace("-", "_"))


COMMANDS = {
    "demo": Command(
        "demo",
        "Train two tiny VAEs, with and without LCR, and a diffusion model on each: a report.",
    ),
    "train": Command(
        "vae", "Train an autoencoder by a recipe. The same command again goes on where it stopped."
    ),
    "analyze": Command(
        "analysis",
        "Analyse one or more VAEs over the same clips: spectra, robustness, reconstruction, cost.",
    ),
    "app": Command(
        "app",
        "Serve a page to try models on: films through them, their latents, prompts, learning "
        "curves.",
    ),
    "shards": Command(
        "data",
        "Write videos and images into tar files to train on, with captions, sizes and rates "
        "beside.",
    ),
    "encode": Command(
        "video", "Encode a video of any length and size into a file of latents, for ssvae decode."
    ),
    "decode": Command(
        "video", "Decode a file of latents into a video with the original's frame times and sound."
    ),
    "reconstruct": Command(
        "video", "Encode and decode a video of any length and size; frame times and sound are kept."
    ),
    "convert": Command(
        "convert",
        "Convert a checkpoint of the published code into a model's folder, or the other way round.",
    ),
    "export-onnx": Command(
        "convert",
        "Write encoder and decoder as ONNX graphs, whole and as steps of a stream, and check them.",
    ),
    "stats": Command(
        "convert",
        "Mean and standard deviation of each latent channel, which diffusion models standardise "
        "by.",
    ),
    "cache-latents": Command(
        "diffusion", "Encode clips and captions once into shards that train-diffusion reads."
    ),
    "train-diffusion": Command(
        "diffusion",
        "Train a diffusion model on cached latents. The same command again goes on where it "
        "stopped.",
    ),
    "generate": Command(
        "diffusion",
        "Generate clips for prompts: a video each, a contact sheet of all, and clips.csv, a list.",
    ),
    "average": Command(
        "diffusion",
        "Make the running mean of a diffusion run's weights of another length, after the run.",
    ),
    "export": Command(
        "diffusion",
        "Write a diffusion run as one diffusers pipeline, the autoencoder with its statistics "
        "inside.",
    ),
    "fit-map": Command(
        "diffusion",
        "Fit an invertible map that changes the spectrum of a VAE's latents, not what they can "
        "say.",
    ),
    "train-probe": Command(
        "bench",
        "Train the probe that scores generated clips, on true clips of a source.",
    ),
    "evaluate reconstruction": Command(
        "evaluation",
        "PSNR, SSIM, LPIPS, rFVD and rKVD of reconstructions, with 95 % intervals over clips.",
    ),
    "evaluate generation": Command(
        "evaluation",
        "Fréchet and kernel distance of generated to true clips (FVD, KVD by I3D), with intervals.",
    ),
    "evaluate judge": Command(
        "evaluation",
        "Marks on five scales by a vision-language model behind an OpenAI-compatible endpoint.",
    ),
    "evaluate drift": Command(
        "drift",
        "PSNR, colour and contrast of clips that are encoded and decoded again and again.",
    ),
    "evaluate compare": Command(
        "evaluation", "Lay evaluations side by side; where their protocols differ that is refused."
    ),
    "bench vaes": Command(
        "bench",
        "Which VAE's latents are learned faster? The same diffusion model on each, over seeds.",
    ),
    "bench interventions": Command(
        "bench", "Change the spectrum of one VAE's latents by invertible maps, and nothing else."
    ),
    "recipes": Command("recipes", "List the training recipes."),
    "models": Command(
        "models",
        "List the models that come with ssvae; with a name, how one was made and what it scores.",
    ),
}
"""In the order in which they are listed."""
GROUPS = {
    "evaluate": "Scores of reconstructions and of generated clips.",
    "bench": "Experiments: which latents are easy to diffuse?",
}


def main() -> None:
    """The entry point of the command ``ssvae``."""
    words = sys.argv[1:]
    if words == ["--version"]:
        _print(f"ssvae {version('ssvae')}")
        return
    group = words[0] if words and words[0] in GROUPS else ""
    rest = words[1:] if group else words
    if not rest or rest[0] in ("--help", "-h"):
        _print_commands(group)
        sys.exit(0 if rest else 2)
    name = f"{group} {rest[0]}".strip()
    if name not in COMMANDS:
        text = f"error: there is no command {name}{_meant(name, group)} ssvae --help lists all"
        _print(text, stderr=True, style="red")
        sys.exit(2)
    _run(name, COMMANDS[name].load(name), rest[1:])


def _run(name: str, function: Callable[..., Any], words: Sequence[str]) -> None:
    import tyro

    from ssvae.cli.console import (
        configure_logging,
        errors_in_one_line,
        exit_without_teardown,
    )
    from ssvae.cli.numbers import with_checked_numbers

    debug = "--debug" in words
    configure_logging(debug)
    with errors_in_one_line(debug):
        tyro.cli(
            with_checked_numbers(function),
            prog=f"ssvae {name}",
            args=words,
            config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.FlagCreatePairsOff),
        )
    exit_without_teardown()


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


def _meant(name: str, group: str) -> str:
    close = get_close_matches(
        name, [n for n in (*COMMANDS, *GROUPS) if n.startswith(f"{group} ".lstrip())], 1
    )
    return f"; did you mean {close[0]}?" if close else ":"


def _print(what: Any, stderr: bool = False, style: str | None = None) -> None:
    from rich.console import Console

    Console(stderr=stderr).print(
        what, style=style, highlight=False, soft_wrap=isinstance(what, str), markup=False
    )
