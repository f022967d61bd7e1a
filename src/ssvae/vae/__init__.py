"""Training autoencoders: the recipe, the objective with LCR and LMR in it, the adversary, the trainer."""

from ssvae.vae.building import build, build_on_meta, parameters_of, problems_of
from ssvae.vae.recipe import (
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
from ssvae.vae.trainer import VAETrainer, train_autoencoder

__all__ = [
    "AdaptRecipe",
    "ClipConfig",
    "GANConfig",
    "ImagesConfig",
    "LCRConfig",
    "LMRConfig",
    "PerceptualConfig",
    "TrainingRecipe",
    "VAERecipe",
    "VAETrainer",
    "ValidationConfig",
    "build",
    "build_on_meta",
    "parameters_of",
    "problems_of",
    "train_autoencoder",
]
