"""Latents of many clips: encoding them, the cache that diffusion models read, and maps of them."""

from ssvae.latents.buckets import LatentBuckets, write_buckets
from ssvae.latents.cache import CacheConfig, LatentCache
from ssvae.latents.cached_clips import CachedClips
from ssvae.latents.encoding import encode_clips, write_cache
from ssvae.latents.mapped import MappedAutoencoder, load_map, save_map, with_statistics
from ssvae.latents.maps import LatentMap, MapConfig, fit_map
from ssvae.latents.reading import StoredLatents, open_latents

__all__ = [
    "CacheConfig",
    "CachedClips",
    "LatentBuckets",
    "LatentCache",
    "LatentMap",
    "MapConfig",
    "MappedAutoencoder",
    "StoredLatents",
    "encode_clips",
    "fit_map",
    "load_map",
    "open_latents",
    "save_map",
    "with_statistics",
    "write_buckets",
    "write_cache",
]
