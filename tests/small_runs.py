"""A small VAE, and training runs that take seconds."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from ssvae.models import AutoencoderKLSSVAE
from ssvae.recipes import tiny
from ssvae.regularizers import registered
from ssvae.storage.settings import changed
from ssvae.training import make_accelerator
from ssvae.training.metrics import read_out
from ssvae.vae import ClipConfig, VAERecipe

SMALL = dict(z_dim=4, base_channels=8)


def small_vae() -> AutoencoderKLSSVAE:
    """The tiny preset, smaller still."""
    torch.manual_seed(0)
    return AutoencoderKLSSVAE.from_preset("tiny", **SMALL)


def small(**changes) -> VAERecipe:
    recipe = tiny()
    settings = dict(
        model=dataclasses.replace(recipe.model, **SMALL),
        clip=ClipConfig(frames=9, height=16, width=16),
        **dict(steps=6, batch_size=2, checkpoint_every=2, warmup_steps=2),
    )
    return dataclasses.replace(recipe, **(settings | changes))


OTHERS = [name for name in registered() if name not in ("lcr", "lmr")]
"""Other papers' regularisers."""


def with_regularizers(recipe: VAERecipe, *names: str) -> VAERecipe:
    """The recipe with these enabled too."""
    return changed(recipe, {f"{name}.enabled": True for name in names})


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def cpu():
    return make_accelerator("cpu")


def step(trainer: Any, number: int, batch: Any) -> dict[str, float]:
    """A step's metrics, as numbers."""
    return read_out(trainer.accelerator, [trainer.step(number, batch).metrics])[0]
