"""Training: the loop, its checkpoints, and what trains an autoencoder."""

from ssvae.training.checkpoint import find_vae, load_vae
from ssvae.training.interruption import InterruptedRun
from ssvae.training.loop import make_accelerator, repeat_bit_for_bit, train
from ssvae.training.vae_recipe import (
    AdaptRecipe,
    ClipConfig,
    GANConfig,
    ImagesConfig,
    LCRConfig,
    LMRConfig,
    PerceptualConfig,
    TrainingRecipe,
    VAERecipe,
    ValidationConfig,
)

__all__ = [
    "AdaptRecipe",
    "ClipConfig",
    "GANConfig",
    "ImagesConfig",
    "InterruptedRun",
    "LCRConfig",
    "LMRConfig",
    "PerceptualConfig",
    "TrainingRecipe",
    "VAERecipe",
    "ValidationConfig",
    "find_vae",
    "load_vae",
    "make_accelerator",
    "repeat_bit_for_bit",
    "train",
]
