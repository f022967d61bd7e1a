"""Decoder noise: decode whole clips from latents with noise added (RAE, arXiv 2510.11690)."""

from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.registry import Hooks, LatentSpec, RegularizerConfig

__all__ = ["DecoderNoise", "DecoderNoiseConfig"]


class DecoderNoise(nn.Module):
    """Add noise to latents, in training only:  z' = z + σ s ε,  ε ~ N(0, 1).

    s is the deviation of each channel of each sample, and takes no gradient. Each sample draws
    σ ~ |N(0, τ²)|, or has σ = τ. A diffusion model's latents are never quite those that the
    encoder gives; a decoder that has seen noise bears that better.

    Args:
        deviation: τ, in units of the channels' deviations.
        fixed: whether σ is τ for every sample.

    In eval mode the module is the identity.
    """

    def __init__(self, deviation: float = 0.8, fixed: bool = False):
        super().__init__()
        if not 0 < deviation < float("inf"):
            raise ValueError(f"deviation must be a positive number, got {deviation}")
        self.deviation, self.fixed = deviation, fixed

    def forward(
        self, z: torch.Tensor, generator: torch.Generator | Draws | None = None
    ) -> torch.Tensor:
        """Latents (B, C, ...), of videos or images, to the same with noise.

        ``generator`` draws, or :class:`Draws` where processes share a batch; without it the global
        state of ``z``'s device does.
        """
        if z.ndim < 3:
            raise ValueError(
                f"latents must be (batch, channels, h, w) or more, got {tuple(z.shape)}"
            )
        check_numbers(z)
        if not self.training:
            return z
        draws, per_sample = Draws.of(generator), (len(z), *[1] * (z.ndim - 1))
        sigma = torch.full(per_sample, self.deviation)
        if not self.fixed:
            sigma = self.deviation * draws.randn(per_sample, z).abs()
        s = z.detach().flatten(2).std(2, correction=0).view(*z.shape[:2], *per_sample[2:])
        noise = draws.randn(z.shape, z).to(z.device, z.dtype)
        return z + sigma.to(z.device, z.dtype) * s * noise

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"deviation={self.deviation}, fixed={self.fixed}"


@dataclass(frozen=True, kw_only=True)
class DecoderNoiseConfig(RegularizerConfig):
    """Noise added to what is decoded (RAE, arXiv 2510.11690)."""

    NAME, TITLE, PAPER = "decoder_noise", "decoder noise (RAE)", "2510.11690"
    SUMMARY = "decodes whole clips from latents with noise added, z + σ s ε"
    ORDER = -1  # before what takes parts of the latents away

    deviation: float = 0.8
    """Deviation of the noise, in units of the channels' own."""
    fixed: bool = False
    """Noise of this deviation for every clip, instead of one drawn for each."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Noise on the latents."""
        module = DecoderNoise(self.deviation, self.fixed)
        return Hooks(module, latents=module)
