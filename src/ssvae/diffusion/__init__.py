"""Latent video diffusion: the recipe, the transformer, flow matching, text, training, pipelines."""

from ssvae.diffusion.recipe import DiffusionRecipe, TextConfig, TransformerConfig
from ssvae.diffusion.trainer import DiffusionTrainer, train_diffusion
from ssvae.diffusion.transformer import PooledWanTransformer3DModel
from ssvae.diffusion.words import HashedWordTokenizer

__all__ = [
    "DiffusionRecipe",
    "DiffusionTrainer",
    "HashedWordTokenizer",
    "PooledWanTransformer3DModel",
    "TextConfig",
    "TransformerConfig",
    "train_diffusion",
]
