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
        """A ValueError that names the fields whose settings are none."""
        super().__init__()
        wrong: list[str] = []

        def made(field: str, on: Any, kind: type[nn.Module], *settings: Any) -> nn.Module | None:
            try:
                return kind(*settings) if on else None
            except ValueError as error:
                wrong.append(f"{field}: {error}")
                return None

        patch = layout.time_factor, layout.space_factor, layout.space_factor
        pairs, prefix = recipe.equivariance, recipe.channel_prefix.shares
        ratio, gamma = recipe.input_masking.max_ratio, recipe.latent_noise.gamma
        scale, matching = recipe.scale_equivariance, recipe.spectrum_matching
        dropped = recipe.future_dropping.probability
        self.input_masking = made("input_masking", ratio, InputMasking, ratio, patch)
        self.equivariance = made(
            "equivariance",
            pairs.probability,
            Equivariance,
            pairs.probability,
            pairs.scales,
            pairs.turns,
        )
        self.scale_equivariance = made(
            "scale_equivariance", scale.weight, ScaleEquivariance, scale.factors
        )
        corruptions = (
            made("latent_noise", gamma, LatentNoise, gamma),
            made("future_dropping", dropped, FutureDropping, dropped),
            made("channel_prefix", prefix != (1.0,), ChannelPrefix, prefix),
        )
        self.corruptions = nn.ModuleList(m for m in corruptions if m is not None)
        self.spectrum_matching = made(
            "spectrum_matching",
            matching.weight,
            SpectrumMatching,
            matching.delta,
            matching.rings,
        )
        if wrong:
            raise ValueError("; ".join(wrong))

    def seen(
        self, clips: torch.Tensor, generator: torch.Generator, share: tuple[int, int]
    ) -> torch.Tensor:
        """What the encoder sees of clips (B, C, T, H, W)."""
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
