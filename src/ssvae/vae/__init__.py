"""Training autoencoders: the recipe, the objective with LCR and LMR in it, the adversary, the
trainer.
"""

from ssvae.vae.building import build, parameters_of, problems_of
from ssvae.vae.recipe import (
    AdaptRecipe,
    ClipConfig,
    DistilRecipe,
    GANConfig,
    ImagesConfig,
    PerceptualConfig,
    RegularizedRecipe,
    TrainingRecipe,
    VAERecipe,
    ValidationConfig,
)
from ssvae.vae.trainer import VAETrainer, train_autoencoder

__all__ = [
    "AdaptRecipe",
    "ClipConfig",
    "DistilRecipe",
    "GANConfig",
    "ImagesConfig",
    "PerceptualConfig",
    "RegularizedRecipe",
    "TrainingRecipe",
    "VAERecipe",
    "VAETrainer",
    "ValidationConfig",
    "build",
    "parameters_of",
    "problems_of",
    "train_autoencoder",
]
