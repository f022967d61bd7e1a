"""Trains a few steps with weights divided among processes (FSDP=1) or not; see test_processes.py.

accelerate turns to FSDP where it finds accelerators alone, so on a CPU it is told here.
"""

import dataclasses
import os
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from ssvae.cli.console import exit_without_teardown
from ssvae.recipes import tiny
from ssvae.training import make_accelerator
from ssvae.vae import GANConfig, VAETrainer, ValidationConfig, train_autoencoder

if __name__ == "__main__":
    accelerator = make_accelerator("cpu")
    if os.environ.get("FSDP"):
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            reshard_after_forward=False,
            auto_wrap_policy="no_wrap",
            cpu_ram_efficient_loading=False,
        )
        state = AcceleratorState._shared_state
        state["distributed_type"], state["fsdp_plugin"] = DistributedType.FSDP, plugin
        assert accelerator.is_fsdp2
    recipe = tiny()
    if os.environ.get("FSDP"):
        with pytest.raises(ValueError, match="give --optimizer adam"):
            VAETrainer(recipe, accelerator)
    recipe = dataclasses.replace(
        recipe,
        optimizer="adam",
        steps=int(sys.argv[2]),
        model=dataclasses.replace(recipe.model, z_dim=4, base_channels=8),
        batch_size=2,
        accumulate=2,
        decay_steps=4,
        checkpoint_every=2,
        ema_decay=0.9,
        learned_variance=True,
        gan=GANConfig(start=1, halvings=3, channels=4),
        validation=ValidationConfig(every=2, clips=4),
    )
    train_autoencoder(recipe, Path(sys.argv[1]), accelerator)
    exit_without_teardown()
