"""A small VAE, a cache of its latents and a diffusion run on them: what conftest's fixtures
save.
"""

import dataclasses
from pathlib import Path

import torch

from small_runs import cpu, small_vae
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.recipe import DiffusionRecipe, TextConfig, TransformerConfig
from ssvae.latents import write_cache
from ssvae.latents.cache import CacheConfig
from ssvae.models.backbones import load_backbone


def save_vae(folder: Path) -> Path:
    vae = small_vae()
    for parameter in vae.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    vae.save_pretrained(folder)
    return folder


def save_latents(vae: Path, out: Path) -> Path:
    config = CacheConfig(str(vae), clips=20, shard_clips=8)
    write_cache(load_backbone(vae), out, config, cpu())
    return out


def save_run(cache: Path, out: Path) -> Path:
    train_diffusion(small_recipe(cache), out, cpu())
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
