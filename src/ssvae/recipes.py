"""Training recipes: functions that return typed settings, each saying where its numbers come from."""

import dataclasses
from collections.abc import Callable

import tyro

from ssvae.diffusion.conditioning import TextConfig
from ssvae.models import PRESETS
from ssvae.training.diffusion import DiffusionRecipe, TransformerConfig
from ssvae.training.vae import ClipConfig, LCRConfig, LMRConfig, VAERecipe


def tiny() -> VAERecipe:
    """1.3 M parameters on the procedural world, 32 x 32 x 9: minutes on two cores.

    A laptop's run is some 125 times shorter than the published one, so the learning rate and the
    weight of LCR (0.1 instead of 0.002) are larger and the batch is smaller. Masking is as
    published at 256 p.
    """
    return VAERecipe(
        steps=1200,
        model=PRESETS["tiny"],
        clip=ClipConfig(frames=9, height=32, width=32),
        lcr=LCRConfig(weight=0.1),
        batch_size=8,
        learning_rate=5e-4,
        final_learning_rate=5e-6,
        warmup_steps=50,
    )


def tiny_baseline() -> VAERecipe:
    """The tiny recipe without LCR and LMR, for comparison; all else is the same."""
    return dataclasses.replace(
        tiny(), lcr=LCRConfig(weight=0.0), lmr=LMRConfig(ratios=(0.0,), probabilities=(1.0,))
    )


def dit_tiny() -> DiffusionRecipe:
    """1.4 M parameters on the tiny VAE's latents: minutes on two cores.

    Four blocks of width 128 over 48 tokens, and a text encoder of 0.1 M on bytes. Small batches
    learn more in a minute than large ones here. The rate is that of a short run; it stays
    constant, so that a longer run is the same run, longer.
    """
    return DiffusionRecipe(
        steps=2000, latents=tyro.MISSING, batch_size=16, learning_rate=1e-3, warmup_steps=50
    )


def dit_small() -> DiffusionRecipe:
    """33 M parameters on the tiny VAE's latents: minutes on one GPU.

    The shape of DiT-S (arXiv 2212.09748, table 1): twelve blocks of width 384.
    """
    return DiffusionRecipe(
        steps=10_000,
        latents=tyro.MISSING,
        model=TransformerConfig(layers=12, heads=6, head_dim=64, ffn_dim=1536),
        text=TextConfig(width=256, layers=4, heads=4),
        batch_size=256,
        learning_rate=4e-4,
        warmup_steps=500,
        ema_decay=0.999,
        checkpoint_every=1000,
    )


RECIPES: dict[str, Callable[[], VAERecipe]] = {"tiny": tiny, "tiny-baseline": tiny_baseline}
DIFFUSION_RECIPES: dict[str, Callable[[], DiffusionRecipe]] = {
    "dit-tiny": dit_tiny,
    "dit-small": dit_small,
}
