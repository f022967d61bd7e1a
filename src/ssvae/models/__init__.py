"""The autoencoder."""

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.config import PRESETS, AutoencoderConfig
from ssvae.models.posterior import DiagonalGaussian

__all__ = ["PRESETS", "AutoencoderConfig", "AutoencoderKLSSVAE", "DiagonalGaussian"]
