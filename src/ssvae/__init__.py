"""SSVAE: video autoencoders whose latents are easy to diffuse (arXiv 2512.05394)."""

from importlib.metadata import version

# diffusers looks for the base class beside the model when it loads a saved pipeline.
from diffusers.models.modeling_utils import ModelMixin

from ssvae.diffusion import (
    HashedWordTokenizer,
    MappedAutoencoder,
    PooledWanTransformer3DModel,
)
from ssvae.models import AutoencoderKLSSVAE
from ssvae.regularizers import LatentMasking, LocalCorrelation, local_correlation

__version__ = version("ssvae")

__all__ = [
    "AutoencoderKLSSVAE",
    "HashedWordTokenizer",
    "LatentMasking",
    "LocalCorrelation",
    "MappedAutoencoder",
    "ModelMixin",
    "PooledWanTransformer3DModel",
    "local_correlation",
]
