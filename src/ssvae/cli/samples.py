"""A film to look at when a run is done: what its model makes."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator

from ssvae.cli.console import console
from ssvae.data import open_source, to_show, write_video
from ssvae.diffusion.pipeline import generate, open_pipeline
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.latents import LatentBuckets
from ssvae.models.finding import open_vae
from ssvae.models.names import is_own
from ssvae.storage.runs import sample_film
from ssvae.vae import TrainingRecipe
from ssvae.vae.recipe import AdaptRecipe, DistilRecipe
from ssvae.vae.validation import write_pairs

SHOWN = 4  # clips
STEPS = 16  # of the sampler


def show_samples(
    recipe: TrainingRecipe | DiffusionRecipe, out: Path, accelerator: Accelerator
) -> None:
    """Write the film of a finished run, unless there is one, and say where it lies; where it
    cannot be made, why.
    """
    film = sample_film(out, recipe.steps)
    try:
        if not film.exists():
            film.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(recipe, DiffusionRecipe):
                _write_clips(recipe, out, film, accelerator.device)
            elif not (isinstance(recipe, DistilRecipe) and recipe.halves != "both"):
                _write_reconstructions(recipe, out, film, accelerator.device)
    except (ValueError, OSError) as error:
        console.print(f"no film of samples: {error}", soft_wrap=True, markup=False)
        return
    if film.exists():
        console.print(f"samples: {film}", soft_wrap=True, markup=False)


def _write_clips(recipe: DiffusionRecipe, out: Path, film: Path, device: torch.device) -> None:
    """Clips for captions of the run's cache, side by side."""
    vae = LatentBuckets(recipe.latents).vae
    if is_own(vae):
        raise ValueError(
            "the latents are of a VAE of your own, which is imported only where it is named: "
            f"ssvae generate PROMPT --model {out} --vae {vae}"
        )
    pipeline, config = open_pipeline(out, None, device)
    captions = list(islice(_unlike(LatentBuckets(recipe.latents).each_caption()), SHOWN))
    size = config.frames, config.height, config.width
    clips = generate(pipeline, captions, size, STEPS, seed=recipe.seed)
    write_video(film, to_show(torch.cat(list(clips), -1)), config.fps or 8)


def _unlike(captions: Iterable[str]) -> Iterator[str]:
    """Each the first time that it comes."""
    seen = set[str]()
    for caption in captions:
        if caption not in seen:
            seen.add(caption)
            yield caption


@torch.no_grad()
def _write_reconstructions(
    recipe: TrainingRecipe, out: Path, film: Path, device: torch.device
) -> None:
    """Clips that the run did not see, each above its reconstruction."""
    own = isinstance(recipe, AdaptRecipe) and is_own(recipe.model)
    vae = open_vae(f"{recipe.model}:{out}" if own else str(out), device)  # type: ignore[attr-defined]
    clip = recipe.clip
    size = clip.frames, clip.height, clip.width
    source = open_source(
        recipe.data, *size, clip.fps, recipe.seed + 1, device, channels=vae.clip_channels
    )
    true = source.batch(range(SHOWN)).on(device)
    write_pairs(film, true.cpu(), vae.decode(vae.encode(true).mean).cpu(), clip.fps or 8)
