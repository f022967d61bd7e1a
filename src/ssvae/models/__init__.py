"""The autoencoder."""

from ssvae.models.autoencoder import PRESETS, AutoencoderConfig, AutoencoderKLSSVAE
from ssvae.models.posterior import DiagonalGaussian

__all__ = ["PRESETS", "AutoencoderConfig", "AutoencoderKLSSVAE", "DiagonalGaussian"]
