"""The rivals of LCR and LMR that a recipe turns on."""

from typing import Any

import torch
from torch import nn

from ssvae.models.backbones import Layout
from ssvae.regularizers import (
    ChannelPrefix,
    Equivariance,
    FutureDropping,
    InputMasking,
    LatentNoise,
    ScaleEquivariance,
    SpectrumMatching,
)
from ssvae.vae.recipe import TrainingRecipe


class Rivals(nn.Module):
    """A module for each that is on, else None; none has a parameter.

    What changes clips or latents is the identity where it is off, and then draws nothing.
    """

    def __init__(self, recipe: TrainingRecipe, layout: Layout):
        super().__init__()
        masked, futures = recipe.input_masking, recipe.future_dropping
        patch = layout.time_factor, layout.space_factor, layout.space_factor
        scale, matching = recipe.scale_equivariance, recipe.spectrum_matching
        pairs, prefix = recipe.equivariance, recipe.channel_prefix
        self.input_masking = _where(masked.max_ratio, InputMasking, masked.max_ratio, patch)
        self.equivariance = _where(
            pairs.probability, Equivariance, pairs.probability, pairs.scales, pairs.turns
        )
        self.scale_equivariance = _where(scale.weight, ScaleEquivariance, scale.factors)
        self.corruptions = nn.ModuleList(
            module
            for module in (
                _where(recipe.latent_noise.gamma, LatentNoise, recipe.latent_noise.gamma),
                _where(futures.probability, FutureDropping, futures.probability),
                _where(prefix.shares != (1.0,), ChannelPrefix, prefix.shares),
            )
            if module is not None
        )
        self.spectrum_matching = _where(
            matching.weight, SpectrumMatching, matching.delta, matching.rings
        )

    def seen(
        self, clips: torch.Tensor, generator: torch.Generator, share: tuple[int, int]
    ) -> torch.Tensor:
        """What the encoder sees of clips (B, 3, T, H, W)."""
        return clips if self.input_masking is None else self.input_masking(clips, generator, share)

    def pair(
        self, z: torch.Tensor, clips: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents to decode, and the clips to get; the generator is the host's."""
        return (z, clips) if self.equivariance is None else self.equivariance(z, clips, generator)

    def corrupted(
        self, z: torch.Tensor, generator: torch.Generator, share: tuple[int, int]
    ) -> torch.Tensor:
        """Latents as the decoder is given them."""
        for module in self.corruptions:
            z = module(z, generator, share)
        return z


def _where(on: Any, kind: type[nn.Module], *settings: Any) -> nn.Module | None:
    return kind(*settings) if on else None
