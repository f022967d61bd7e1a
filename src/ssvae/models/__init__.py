"""The autoencoder, and any VAE behind one protocol."""

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone
from ssvae.models.channels import with_channels
from ssvae.models.config import PRESETS, AutoencoderConfig
from ssvae.models.finding import load_vae, open_vae
from ssvae.models.layouts import Layout
from ssvae.models.posterior import DiagonalGaussian

__all__ = [
    "PRESETS",
    "AutoencoderConfig",
    "AutoencoderKLSSVAE",
    "Backbone",
    "DiagonalGaussian",
    "Layout",
    "load_vae",
    "open_vae",
    "with_channels",
]
