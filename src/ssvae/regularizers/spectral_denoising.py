"""Spectral denoising: latents that are near their own low frequencies (after Denoising-VAE, arXiv
2511.12633).

Shape legend: B batch, C channels, T frames, h, w sides of the latents.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers, check_positive
from ssvae.regularizers.registry import Decoded, Hooks, LatentSpec, RegularizerConfig, Term
from ssvae.transforms import dct_matrix_on

__all__ = ["SpectralDenoising", "SpectralDenoisingConfig"]


class SpectralDenoising(nn.Module):
    """How far latents are from themselves without their high frequencies in space, at several
    levels:  L = mean_s mean |z - sg(P_s z)|^2 / sg(var z).

    P_s keeps the share s of the frequencies of rows and of columns of an orthonormal cosine
    transform. The low-passed latents are the target and take no gradient, so that what is high is
    suppressed and what is low is left alone; over the latents' variance, small latents gain
    nothing.

    Args:
        levels: shares of the frequencies that are kept, each in (0, 1).
    """

    def __init__(self, levels: Sequence[float] = (0.5, 0.25)):
        super().__init__()
        if not levels or any(not 0 < level < 1 for level in levels):
            raise ValueError(f"levels must be some numbers in (0, 1), got {tuple(levels)}")
        self.levels = tuple(levels)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, [T,] h, w) to a scalar.

        It is a mean over samples of each sample's own share, so that processes that share a batch
        need nothing but the mean of their gradients. A ValueError where a side is shorter than 2.
        """
        check_numbers(z)
        check_sides(z)
        with torch.autocast(z.device.type, enabled=False):
            x = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
            scale = x.detach().flatten(1).var(1, correction=0).clamp(min=EPSILON)
            losses = [
                (x - self._low(x.detach(), level)).square().flatten(1).mean(1) / scale
                for level in self.levels
            ]
            return torch.stack(losses).mean()

    def _low(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """x without its high frequencies: a projection on the first rows of the transform."""
        down, across = (
            dct_matrix_on(side, x.device, x.dtype)[: max(1, math.ceil(level * side))]
            for side in x.shape[-2:]
        )
        return down.T @ (down @ x @ across.T) @ across

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"levels={self.levels}"


EPSILON = 1e-12
"""The least variance of a sample's latents."""


def check_sides(z: torch.Tensor) -> None:
    """A ValueError for latents (..., h, w) without a high frequency."""
    if z.ndim not in (4, 5) or min(z.shape[-2:]) < 2:
        raise ValueError(
            "latents must be (batch, channels, [frames,] height, width), at least 2 wide and high "
            f"to have high frequencies, got {tuple(z.shape)}"
        )


@dataclass(frozen=True, kw_only=True)
class SpectralDenoisingConfig(RegularizerConfig):
    """Latents near their own low frequencies (Denoising-VAE, arXiv 2511.12633); levels, distance
    and weight are ours, and its part in the diffusion model's training is left out.
    """

    NAME, TITLE, PAPER = "spectral_denoising", "spectral denoising (Denoising-VAE)", "2511.12633"
    SUMMARY = "a penalty on what latents hold beyond their own low frequencies"
    SHAPES_LATENTS = True

    weight: float = 0.1
    """Weight of the distance beside the reconstruction's error."""
    levels: tuple[float, ...] = (0.5, 0.25)
    """Shares of the frequencies of each side that are low."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """The distance as a term."""
        check_positive("weight", self.weight)
        module = SpectralDenoising(self.levels)

        def terms(step: Decoded) -> Mapping[str, Term]:
            return {self.NAME: Term(self.weight, module(step.mean))}

        return Hooks(module, terms=terms)

    def check(self, mean: torch.Tensor, latents: LatentSpec) -> None:
        """A ValueError for latents too small to have high frequencies."""
        check_sides(mean)
