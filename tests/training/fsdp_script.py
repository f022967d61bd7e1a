"""Trains a few steps with weights divided among processes (FSDP=1) or not; see test_processes.py.

accelerate turns to FSDP where it finds accelerators alone, so on a CPU it is told here; how is read
from the configuration that docs/scaling.md shows.
"""

import dataclasses
import os
import sys
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from ssvae.cli.console import exit_without_teardown
from ssvae.diffusion import DiffusionRecipe, TextConfig, TransformerConfig, train_diffusion
from ssvae.recipes import tiny
from ssvae.regularizers import LatentNoiseConfig, ScaleEquivarianceConfig
from ssvae.training import make_accelerator
from ssvae.vae import GANConfig, ImagesConfig, VAETrainer, ValidationConfig, train_autoencoder

DOCS = Path(__file__).parents[2] / "docs" / "scaling.md"


def divide_as_documented(accelerator: Accelerator) -> None:
    """What accelerate launch would set."""
    block = DOCS.read_text().split("fsdp_config:\n")[1].split("```")[0]
    for line in block.splitlines():
        name, value = line.strip().split(": ")
        os.environ[name.upper()] = value
    AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin()
    for state in (AcceleratorState, PartialState):
        state._shared_state["distributed_type"] = DistributedType.FSDP
    assert accelerator.is_fsdp2


def train_vae(out: Path, steps: int, accelerator: Accelerator, divided: bool) -> None:
    recipe = tiny()
    if divided:
        with pytest.raises(ValueError, match="give another --optimizer"):
            VAETrainer(recipe, accelerator)
    recipe = dataclasses.replace(
        recipe,
        optimizer="adam",
        learning_rate=1e-3,
        warmup_steps=1,
        steps=steps,
        model=dataclasses.replace(recipe.model, z_dim=4, base_channels=8),
        batch_size=2,
        accumulate=2,
        decay_steps=4,
        checkpoint_every=2,
        ema_decay=0.9,
        learned_variance=True,
        gan=GANConfig(start=1, halvings=3, channels=4),
        images=ImagesConfig(share=0.25, batch_size=2),
        validation=ValidationConfig(every=2, clips=4),
        scale_equivariance=ScaleEquivarianceConfig(enabled=True),
        latent_noise=LatentNoiseConfig(enabled=True, gamma=0.5),
    )
    train_autoencoder(recipe, out, accelerator)


def train_transformer(cache: str, out: Path, steps: int, accelerator: Accelerator) -> None:
    recipe = DiffusionRecipe(
        steps=steps,
        latents=cache,
        model=TransformerConfig(layers=2, heads=2, head_dim=16, ffn_dim=32, freq_dim=32),
        text=TextConfig(width=16, layers=1, heads=2),
        batch_size=2,
        accumulate=2,
        gradient_checkpointing=True,
        optimizer="adamw",
        warmup_steps=1,
        checkpoint_every=2,
    )
    train_diffusion(recipe, out, accelerator)


def main(cache: str, out: Path, steps: int) -> None:
    accelerator = make_accelerator("cpu", os.environ.get("DTYPE", "float32"))
    divided = bool(os.environ.get("FSDP"))
    for until in [2, steps] if divided else [steps]:  # and goes on
        if divided:
            divide_as_documented(accelerator)
        train_vae(out / "vae", until, accelerator, divided)
        if divided:  # anew, for accelerate's plugin keeps the blocks of the model it saw
            divide_as_documented(accelerator)
        train_transformer(cache, out / "dit", until, accelerator)
        accelerator.free_memory()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    exit_without_teardown()
