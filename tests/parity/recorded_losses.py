"""Ten steps of every recipe at tiny sizes, and of each regulariser: what their losses were.

``PYTHONPATH=tests python tests/parity/recorded_losses.py`` adds those that are not recorded yet.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from small_diffusion import save_latents, save_vae, small_recipe
from small_models import NARROW, write_lpips
from small_runs import OTHERS, cpu, rows, small, with_regularizers
from ssvae.bench.provenance import processor
from ssvae.diffusion import train_diffusion
from ssvae.losses import perceptual
from ssvae.models.config import AutoencoderConfig
from ssvae.recipes import DIFFUSION_RECIPES, RECIPES, without_regularizers
from ssvae.storage.settings import changed, replaced
from ssvae.vae import train_autoencoder

FILE = Path(__file__).with_name("losses.json")
STEPS = 10
TOGETHER = (
    *("latent_noise", "scale_equivariance", "equivariance", "future_dropping", "input_masking"),
    *("spectrum_matching", "channel_prefix"),
)
"""What is on at once in the cases that have many."""
SMALLER: Mapping[str, Any] = {
    "steps": STEPS,
    "seed": 3,
    "data": "world",
    "clip.frames": 9,
    "clip.height": 32,
    "clip.width": 32,
    "clip.fps": None,
    "images.batch_size": 3,
    "batch_size": 2,
    "warmup_steps": 2,
    "gan.channels": 4,
    "gan.halvings": 2,
    "validation.every": 0,
    "checkpoint_every": STEPS,
}


class Losses:
    """Runs in a folder, each called with its case's name."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.vae = save_vae(folder / "vae")
        self.cache = save_latents(self.vae, folder / "cache")
        with patch.object(perceptual, "STAGES", NARROW):
            self.lpips = write_lpips(folder)

    def cases(self) -> dict[str, Callable[[], list[dict[str, float]]]]:
        """What is run, by name."""
        found: dict[str, Callable[[], list[dict[str, float]]]] = {}
        for name in RECIPES:
            found[f"recipe {name}"] = lambda name=name: self._train(self.recipe(name))
        for name, recipe in self.regularised().items():
            found[f"regulariser {name}"] = lambda recipe=recipe: self._train(recipe)
        for name in DIFFUSION_RECIPES:
            found[f"diffusion {name}"] = lambda name=name: self._learn(name)
        return found

    def recipe(self, name: str) -> Any:
        """A recipe of the VAE, smaller."""
        recipe = RECIPES[name]()
        lpips = {"perceptual.vgg": self.lpips[0], "perceptual.linear": self.lpips[1]}
        recipe = changed(recipe, {**SMALLER, **lpips})
        if recipe.gan.start is not None:
            recipe = replaced(recipe, "gan.start", min(recipe.gan.start, 4))
        if hasattr(recipe, "teacher"):
            return dataclasses.replace(recipe, teacher=str(self.vae))
        if not isinstance(recipe.model, AutoencoderConfig):
            return dataclasses.replace(recipe, model=str(self.vae))
        less = dict(z_dim=4, base_channels=8, latents_mean=None, latents_std=None)
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, **less))
        if recipe.freeze_encoder:
            start = self.folder / f"start-{name}"
            begun = dataclasses.replace(small(steps=1), model=recipe.model, clip=recipe.clip)
            train_autoencoder(begun, start, cpu())
            recipe = dataclasses.replace(recipe, init=str(start))
        return recipe

    def regularised(self) -> dict[str, Any]:
        """A recipe with each regulariser alone, with all, and with all beside all losses."""
        plain = without_regularizers(small(steps=STEPS, checkpoint_every=STEPS))
        every = with_regularizers(small(steps=STEPS, checkpoint_every=STEPS), *TOGETHER)
        found = {
            "lcr": dataclasses.replace(plain, lcr=small().lcr),
            "lmr": dataclasses.replace(plain, lmr=small().lmr),
            **{name: with_regularizers(plain, name) for name in OTHERS},
            "all": every,
        }
        rest = {
            "clip.height": 64, "clip.width": 64, "accumulate": 2,
            "images.share": 0.25, "images.batch_size": 3, "learned_variance": True,
            "perceptual.weight": 1.0, "perceptual.vgg": self.lpips[0],
            "perceptual.linear": self.lpips[1], "gan.start": 3, "gan.channels": 4,
            "gan.halvings": 2, "gan.lecam_weight": 0.1, "gan.r1_weight": 0.1, "ema_decay": 0.9,
        }  # fmt: skip
        return found | {"all beside all losses": changed(every, rest)}

    def _train(self, recipe: Any) -> list[dict[str, float]]:
        with tempfile.TemporaryDirectory() as folder, patch.object(perceptual, "STAGES", NARROW):
            train_autoencoder(recipe, Path(folder) / "run", cpu())
            return kept(Path(folder) / "run")

    def _learn(self, name: str) -> list[dict[str, float]]:
        own, less = DIFFUSION_RECIPES[name](), small_recipe(self.cache)
        model = dataclasses.replace(less.model, patch_size=own.model.patch_size)
        recipe = dataclasses.replace(
            own, steps=STEPS, latents=less.latents, model=model, text=less.text,
            batch_size=4, warmup_steps=2, checkpoint_every=STEPS,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            train_diffusion(recipe, Path(folder) / "run", cpu())
            return kept(Path(folder) / "run")


def kept(run: Path) -> list[dict[str, float]]:
    """Loss and gradient of each step."""
    return [{name: row[name] for name in ("loss", "grad_norm")} for row in rows(run)]


def machine() -> dict[str, str]:
    """What bits depend on. Processors of one name and several models round each their own way."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    facts = dict(reversed([[part.strip() for part in x.split(":", 1)] for x in lines if ":" in x]))
    model = " ".join(facts.get(name, "") for name in ("cpu family", "model", "stepping"))
    known = {"torch": torch.__version__, "processor": processor(), "model": model}
    return known | {"instructions": torch.backends.cpu.get_cpu_capability()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in Losses(Path(folder)).cases().items():
            if name not in recorded:
                recorded[name] = {"machine": machine(), "steps": run()}
    FILE.write_text(json.dumps(recorded, indent=0) + "\n")
