"""Latent noise: decode whole clips from latents mixed with noise (l-DeTok, arXiv 2507.15856)."""

from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.registry import Hooks, LatentSpec, RegularizerConfig

__all__ = ["LatentNoise", "LatentNoiseConfig"]


class LatentNoise(nn.Module):
    """Mix latents with noise, in training only:  z' = (1 - τ) z + τ γ ε,  τ ~ U(0, 1),  ε ~ N(0,
    1).

    Each sample draws its own τ. The decoder learns to denoise, as a diffusion model's latents need
    it.

    Args:
        gamma: the deviation γ of the noise, in units of the latents; the paper's is 3.

    In eval mode the module is the identity.
    """

    def __init__(self, gamma: float = 3.0):
        super().__init__()
        if not 0 < gamma < float("inf"):
            raise ValueError(f"gamma must be a positive number, got {gamma}")
        self.gamma = gamma

    def forward(
        self, z: torch.Tensor, generator: torch.Generator | Draws | None = None
    ) -> torch.Tensor:
        """Latents (B, C, ...), of videos or images, to the same with noise.

        ``generator`` draws, or :class:`Draws` where processes share a batch; without it the global
        state of ``z``'s device does.
        """
        if z.ndim < 2:
            raise ValueError(f"latents must be (batch, channels, ...), got {tuple(z.shape)}")
        check_numbers(z)
        if not self.training:
            return z
        draws = Draws.of(generator)
        tau = draws.rand((len(z), *[1] * (z.ndim - 1)), z).to(z.device, z.dtype)
        noise = draws.randn(z.shape, z)
        return (1 - tau) * z + tau * self.gamma * noise.to(z.device, z.dtype)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"gamma={self.gamma}"


@dataclass(frozen=True, kw_only=True)
class LatentNoiseConfig(RegularizerConfig):
    """Latents mixed with noise (l-DeTok, arXiv 2507.15856)."""

    NAME, TITLE, PAPER = "latent_noise", "latent noise (l-DeTok)", "2507.15856"
    SUMMARY = "decodes whole clips from latents that are mixed with noise, (1 - τ) z + τ γ ε"
    ORDER = -1  # before what takes parts of the latents away

    gamma: float = 3.0
    """Deviation of the noise, in units of the latents."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Noise on the latents."""
        module = LatentNoise(self.gamma)
        return Hooks(module, latents=module)
