"""Latent video diffusion: latents and their maps, the transformer, flow matching, text, pipelines."""

from ssvae.diffusion.latents import LatentCache, cache_latents
from ssvae.diffusion.mapped import MappedAutoencoder
from ssvae.diffusion.shaping import LatentMap
from ssvae.diffusion.transformer import PooledWanTransformer3DModel
from ssvae.diffusion.words import HashedWordTokenizer

__all__ = [
    "HashedWordTokenizer",
    "LatentCache",
    "LatentMap",
    "MappedAutoencoder",
    "PooledWanTransformer3DModel",
    "cache_latents",
]
