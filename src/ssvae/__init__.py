"""SSVAE: video autoencoders whose latents are easy to diffuse (arXiv 2512.05394)."""

from importlib.metadata import version

# diffusers looks for the base class beside the model when it loads a saved pipeline.
from diffusers.models.modeling_utils import ModelMixin

from ssvae.diffusion.mapped import MappedAutoencoder
from ssvae.models import AutoencoderKLSSVAE
from ssvae.regularizers import LatentMasking, LocalCorrelation, local_correlation

__version__ = version("ssvae")

__all__ = [
    "AutoencoderKLSSVAE",
    "LatentMasking",
    "LocalCorrelation",
    "MappedAutoencoder",
    "ModelMixin",
    "local_correlation",
]
