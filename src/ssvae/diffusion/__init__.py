"""Latent video diffusion: latents and their maps, flow matching, text, pipelines.

What needs transformers (:mod:`conditioning`, :mod:`pipeline`) is imported where it is used.
"""

from ssvae.diffusion.latents import LatentCache, cache_latents
from ssvae.diffusion.mapped import MappedAutoencoder
from ssvae.diffusion.shaping import LatentMap

__all__ = ["LatentCache", "LatentMap", "MappedAutoencoder", "cache_latents"]
