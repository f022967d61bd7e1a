"""A small VAE, a cache of its latents and a diffusion run on them, made once a session."""

import dataclasses
from pathlib import Path

import pytest
import torch

from ssvae.diffusion import train_diffusion
from ssvae.diffusion.recipe import DiffusionRecipe, TextConfig, TransformerConfig
from ssvae.latents import write_cache
from ssvae.latents.cache import CacheConfig
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import load_backbone
from ssvae.training import make_accelerator

SMALL = dict(z_dim=4, base_channels=8)


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory) -> Path:
    """A small VAE with random weights that are not zero anywhere, saved."""
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("tiny", **SMALL)
    for parameter in vae.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("vae")
    vae.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def cache(vae_folder, tmp_path_factory) -> Path:
    """A cache of 20 clips in shards of 8."""
    out = tmp_path_factory.mktemp("cache")
    config = CacheConfig(str(vae_folder), clips=20, shard_clips=8)
    write_cache(load_backbone(vae_folder), out, config, make_accelerator("cpu"))
    return out


def small_recipe(cache: Path, **changes) -> DiffusionRecipe:
    recipe = DiffusionRecipe(
        steps=4,
        latents=str(cache),
        model=TransformerConfig(layers=1, heads=2, head_dim=16, ffn_dim=32, freq_dim=32),
        text=TextConfig(width=16, layers=1, heads=2),
        batch_size=4,
        warmup_steps=2,
        learning_rate=1e-3,
        muon_learning_rate=5e-3,
        checkpoint_every=2,
    )
    return dataclasses.replace(recipe, **changes)


@pytest.fixture(scope="session")
def run(cache, tmp_path_factory) -> Path:
    """A diffusion run of four steps."""
    out = tmp_path_factory.mktemp("diffusion") / "run"
    train_diffusion(small_recipe(cache), out, make_accelerator("cpu"))
    return out
