"""From a recipe to the transformer that it names, and whether it fits the latents."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import nn

from ssvae.diffusion.flow import shift_for
from ssvae.diffusion.pipeline import checkpoint_of
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.diffusion.text import width_of, word_level_encoder
from ssvae.diffusion.transformer import PooledWanTransformer3DModel
from ssvae.latents.buckets import LatentBuckets


def build(
    recipe: DiffusionRecipe,
    channels: int,
    text_width: int,
    token_spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> PooledWanTransformer3DModel:
    """The transformer with fresh weights, for latents of so many channels."""
    m = recipe.model
    return PooledWanTransformer3DModel(
        patch_size=m.patch_size,
        num_attention_heads=m.heads,
        attention_head_dim=m.head_dim,
        in_channels=channels,
        out_channels=channels,
        text_dim=text_width,
        freq_dim=m.freq_dim,
        ffn_dim=m.ffn_dim,
        num_layers=m.layers,
        cross_attn_norm=True,
        prediction=m.prediction,
        token_spacing=token_spacing,
    )


def parameters_of(recipe: DiffusionRecipe) -> int:
    """Number of parameters that are trained."""
    channels, own = LatentBuckets(recipe.latents).shapes[0][0], recipe.text.encoder is None
    width = recipe.text.width if own else width_of(str(recipe.text.encoder))
    with torch.device("meta"):
        parts: list[nn.Module] = [build(recipe, channels, width)]
        if own:
            parts.append(word_level_encoder(recipe.text)[1])
    return sum(p.numel() for part in parts for p in part.parameters())


def problems_of(recipe: DiffusionRecipe) -> list[str]:
    """All that is wrong with a recipe, and where it does not fit its latents."""
    problems = recipe.problems()
    problems.require(
        recipe.map is None or Path(recipe.map).is_file(),
        f"there is no map at {recipe.map}: ssvae fit-map writes one",
    )
    if recipe.init is not None:
        with problems.of("init"):
            checkpoint_of(recipe.init)
    with problems.of():
        cache = LatentBuckets(recipe.latents)
        problems.require(
            recipe.repa.teacher is None or len(cache.caches) == 1,
            f"repa.teacher looks at clips of one size, {recipe.latents} has {len(cache.caches)}: "
            "give one of the caches in it",
        )
        problems.require(
            recipe.condition == "caption" or min(T for _, T, _, _ in cache.shapes) > 1,
            "condition first-frame needs clips of more than one latent frame, those in "
            f"{recipe.latents} have one",
        )
        problems.require(
            recipe.condition == "caption" or cache.config.first_frame_alone is not False,
            "condition first-frame needs a VAE that encodes a first frame by itself, and that of "
            f"{recipe.latents} does not",
        )
        if not problems.found:
            for shape in cache.shapes:
                tokens_of(recipe, shape)
    return problems.found


def tokens_of(recipe: DiffusionRecipe, latent_shape: Sequence[int]) -> int:
    """Tokens that a clip's latents (C, T, H, W) make."""
    tokens = 1
    for side, patch in zip(latent_shape[1:], recipe.model.patch_size, strict=True):
        if side % patch:
            raise ValueError(
                f"model.patch_size {recipe.model.patch_size} does not divide the latents' "
                f"frames, rows and columns {tuple(latent_shape[1:])}"
            )
        tokens *= side // patch
    return tokens


def shift_of(recipe: DiffusionRecipe, cache: LatentBuckets) -> float:
    """The shift of times; where none is set, that of the clips' mean number of tokens."""
    if recipe.shift is not None:
        return recipe.shift
    tokens = [tokens_of(recipe, shape) for shape in cache.shapes]
    return shift_for(sum(map(prod, zip(tokens, cache.counts, strict=True))) / len(cache))
