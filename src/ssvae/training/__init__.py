"""Training: the loop, its checkpoints, and what trains an autoencoder."""

from ssvae.training.checkpoint import find_vae, load_vae
from ssvae.training.loop import make_accelerator, repeat_bit_for_bit, train
from ssvae.training.vae import ClipConfig, LCRConfig, LMRConfig, VAERecipe

__all__ = [
    "ClipConfig",
    "LCRConfig",
    "LMRConfig",
    "VAERecipe",
    "find_vae",
    "load_vae",
    "make_accelerator",
    "repeat_bit_for_bit",
    "train",
]
