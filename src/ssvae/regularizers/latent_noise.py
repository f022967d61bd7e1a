"""Latent noise: decode whole clips from latents that are mixed with noise (l-DeTok, arXiv 2507.15856)."""

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.drawing import drawn_for_each


class LatentNoise(nn.Module):
    """Mix latents with noise, in training only:  z' = (1 - τ) z + τ γ ε,  τ ~ U(0, 1),  ε ~ N(0, 1).

    Each sample draws its own τ. The decoder learns to denoise, as a diffusion model's latents need it.

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
        self,
        z: torch.Tensor,
        generator: torch.Generator | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> torch.Tensor:
        """Latents (B, C, ...), of videos or images, to the same with noise.

        ``generator`` draws; without it the global state of ``z``'s device does. Where processes share
        a batch, give ``share`` (process, processes) and each the same generator: the draws are those of
        one process with the whole batch.
        """
        if z.ndim < 2:
            raise ValueError(f"latents must be (batch, channels, ...), got {tuple(z.shape)}")
        check_numbers(z)
        if not self.training:
            return z
        each = len(z), *[1] * (z.ndim - 1)
        tau = drawn_for_each(torch.rand, each, z.device, generator, share).to(z.device, z.dtype)
        noise = drawn_for_each(torch.randn, z.shape, z.device, generator, share)
        return (1 - tau) * z + tau * self.gamma * noise.to(z.device, z.dtype)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"gamma={self.gamma}"
