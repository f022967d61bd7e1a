"""The autoencoder."""

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.channels import with_channels
from ssvae.models.config import PRESETS, AutoencoderConfig
from ssvae.models.posterior import DiagonalGaussian

__all__ = [
    "PRESETS",
    "AutoencoderConfig",
    "AutoencoderKLSSVAE",
    "DiagonalGaussian",
    "with_channels",
]
