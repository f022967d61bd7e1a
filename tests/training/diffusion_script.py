"""Diffusion runs of two processes, one of them in two parts; see test_processes.py."""

import sys
from pathlib import Path

from ssvae.cli.console import exit_without_teardown
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.recipe import DiffusionRecipe, TextConfig, TransformerConfig
from ssvae.training import make_accelerator


def main(cache: str, folder: str) -> None:
    accelerator = make_accelerator("cpu")
    for out, steps, cooldown in (("whole", 4, 2), ("parts", 2, 0), ("parts", 4, 2)):
        recipe = DiffusionRecipe(
            steps=steps,
            cooldown_steps=cooldown,
            latents=cache,
            model=TransformerConfig(layers=1, heads=2, head_dim=16, ffn_dim=32, freq_dim=32),
            text=TextConfig(width=16, layers=1, heads=2),
            batch_size=2,
            warmup_steps=2,
            checkpoint_every=2,
        )
        train_diffusion(recipe, Path(folder) / out, accelerator)
        accelerator.free_memory()


if __name__ == "__main__":
    main(*sys.argv[1:])
    exit_without_teardown()
