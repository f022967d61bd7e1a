"""Training autoencoders: the recipe, the objective with LCR and LMR in it, the adversary, the trainer."""

from ssvae.vae.building import build, build_on_meta, parameters_of, problems_of
from ssvae.vae.recipe import (
    AdaptRecipe,
    ClipConfig,
    DistilRecipe,
    GANConfig,
    ImagesConfig,
    PerceptualConfig,
    TrainingRecipe,
    VAERecipe,
    ValidationConfig,
)
from ssvae.vae.regularization import (
    ChannelPrefixConfig,
    EquivarianceConfig,
    FutureDroppingConfig,
    InputMaskingConfig,
    LatentNoiseConfig,
    LCRConfig,
    LMRConfig,
    ScaleEquivarianceConfig,
    SpectrumMatchingConfig,
)
from ssvae.vae.trainer import VAETrainer, train_autoencoder

__all__ = [
    "AdaptRecipe",
    "ChannelPrefixConfig",
    "ClipConfig",
    "DistilRecipe",
    "EquivarianceConfig",
    "FutureDroppingConfig",
    "GANConfig",
    "ImagesConfig",
    "InputMaskingConfig",
    "LCRConfig",
    "LMRConfig",
    "LatentNoiseConfig",
    "PerceptualConfig",
    "ScaleEquivarianceConfig",
    "SpectrumMatchingConfig",
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
