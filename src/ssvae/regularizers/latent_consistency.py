"""Latent consistency: what is decoded encodes to the latents it came from (H3AE, arXiv 2504.10567).

Shape legend: B batch, C channels, T frames, h, w sides of the latents.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers, check_positive
from ssvae.regularizers.registry import Decoded, Hooks, LatentSpec, RegularizerConfig, Term

__all__ = ["LatentConsistency", "LatentConsistencyConfig"]


class LatentConsistency(nn.Module):
    """How far latents are from those of their reconstruction:  L = mean |E(D(z)) - z|^2.

    The latents themselves are the target, and take no gradient from it: else an encoder that makes
    all of them small would do. A round trip through the VAE then changes less, and the next too.
    """

    def forward(self, again: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """Posterior means of the reconstruction and of the clip, (B, C, T, h, w) each, to a scalar.

        It is a mean over samples, so that processes that share a batch need nothing but the mean of
        their gradients. A ValueError for two shapes.
        """
        check_numbers(mean)
        if again.shape != mean.shape:
            raise ValueError(
                f"both latents must have one shape, got {tuple(again.shape)} of the reconstruction "
                f"and {tuple(mean.shape)} of the clip"
            )
        return (again - mean.detach()).square().mean()


@dataclass(frozen=True, kw_only=True)
class LatentConsistencyConfig(RegularizerConfig):
    """Latents that survive a round trip (H3AE, arXiv 2504.10567); distance and weight are ours."""

    NAME, TITLE, PAPER = "latent_consistency", "latent consistency (H3AE)", "2504.10567"
    SUMMARY = (
        "a penalty where the reconstruction encodes to other latents than the clip: a term besides"
    )
    ORDER = 3

    weight: float = 0.1
    """Weight of the squared error beside the reconstruction's."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """The distance as a term."""
        check_positive("weight", self.weight)
        module = LatentConsistency()

        def terms(step: Decoded) -> Mapping[str, Term]:
            # A pair that another regulariser changed is compared with its own latents.
            again = step.mean_of(step.reconstruction)
            mean = step.mean if step.target is step.clips else step.mean_of(step.target)
            return {self.NAME: Term(self.weight, module(again, mean))}

        return Hooks(module, terms=terms)
