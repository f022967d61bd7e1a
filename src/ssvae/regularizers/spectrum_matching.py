"""Spectrum matching: latents with the power spectrum of their clips, flattened (arXiv 2603.14645).

Shape legend: B batch, C channels, T frames, H height, W width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from ssvae.regularizers.checks import check_pair, check_positive
from ssvae.regularizers.registry import Decoded, Hooks, LatentSpec, RegularizerConfig, Term
from ssvae.transfer import moved
from ssvae.transforms import dct_matrix_on, resized

__all__ = ["SpectrumMatching", "SpectrumMatchingConfig"]

EPSILON = 1e-8  # beside shares of power, as published


class SpectrumMatching(nn.Module):
    """The divergence of the latents' spectrum from that of the clip, seen on the latents' grid.

    Power of the cosine transform in space, without its mean, averaged over channels and frames,
    then over rings of equal frequency, as shares p of its sum:  KL(q || p),  q ~ p_x(f) f^delta,
    where p_x is of the clip scaled down to the grid (Encoding Spectrum Matching, arXiv 2603.14645).

    Args:
        delta: how much flatter than the clip's; the published code trains with 1.
        rings: rings of frequency; as many as the shorter side where there are fewer positions.
    """

    def __init__(self, delta: float = 1.0, rings: int = 16):
        super().__init__()
        if not math.isfinite(delta):
            raise ValueError(f"delta must be a number, got {delta}")
        if rings < 2:
            raise ValueError(f"rings must be at least 2, got {rings}")
        self.delta, self.rings = delta, rings

    def forward(self, z: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, T, h, w) and clips (B, 3, T', H, W), or both without T, to a scalar.

        It is a mean over samples, so that processes that share a batch need nothing but the mean of
        their gradients. A ValueError where a side of the latents is shorter than 2.
        """
        check_pair(z, clips)
        check_wide(z)
        rings = min(self.rings, *z.shape[-2:])
        with torch.autocast(z.device.type, enabled=False):
            with torch.no_grad():
                target = spectrum(resized(clips, *z.shape[-2:]), rings)
                target = target * torch.arange(1, rings + 1, device=z.device) ** self.delta
                target = target / (target.sum(1, keepdim=True) + EPSILON)
            own = spectrum(z, rings)
            own = own / (own.sum(1, keepdim=True) + EPSILON)
            return (target * ((target + EPSILON).log() - (own + EPSILON).log())).sum(1).mean()

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"delta={self.delta}, rings={self.rings}"


def check_wide(z: torch.Tensor) -> None:
    """A ValueError for latents (..., h, w) too small to have a spectrum."""
    if min(z.shape[-2:]) < 2:
        raise ValueError(
            f"latents must be at least 2 wide and high to have a spectrum, got {tuple(z.shape)}"
        )


def spectrum(x: torch.Tensor, rings: int) -> torch.Tensor:
    """Mean power in rings of spatial frequency, without the mean: (B, C, [T,] H, W) to (B, rings).

    Frequencies (i, j) of the orthonormal cosine transform are in ring floor(rings r / r_max), r =
    |(i, j)|.
    """
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    H, W = x.shape[-2:]
    down, across = (dct_matrix_on(n, x.device, x.dtype) for n in (H, W))
    x = x - x.mean((-2, -1), keepdim=True)
    power_BHW = (down @ x @ across.T).square().flatten(1, -3).mean(1)
    return power_BHW.flatten(1) @ _membership(H, W, rings, x.device, x.dtype)


@lru_cache(maxsize=64)
def _membership(
    height: int, width: int, rings: int, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """(height * width, rings): what each frequency adds to the mean of each ring; the mean is in
    none.
    """
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in (height, width))
    radius = torch.hypot(rows[:, None], columns).flatten()
    ring = (radius / radius.max() * rings).long().clamp(max=rings - 1)
    matrix = torch.nn.functional.one_hot(ring, rings).double()
    matrix[0] = 0
    return moved((matrix / matrix.sum(0).clamp(min=1)).to(dtype), device)


@dataclass(frozen=True, kw_only=True)
class SpectrumMatchingConfig(RegularizerConfig):
    """The latents' spectrum that of the clip, flattened (arXiv 2603.14645)."""

    NAME, TITLE, PAPER = "spectrum_matching", "spectrum matching", "2603.14645"
    SUMMARY = "a penalty where the latents' spectrum is not that of the clip, flattened"
    SHAPES_LATENTS = True

    weight: float = 0.01
    """Weight of the divergence, by default the published code's."""
    delta: float = 1.0
    """How much flatter than the clip's."""
    rings: int = 16
    """Rings of frequency."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """The divergence as a term."""
        check_positive("weight", self.weight)
        module = SpectrumMatching(self.delta, self.rings)

        def terms(step: Decoded) -> Mapping[str, Term]:
            return {self.NAME: Term(self.weight, module(step.mean, step.clips))}

        return Hooks(module, terms=terms)

    def check(self, mean: torch.Tensor, latents: LatentSpec) -> None:
        """A ValueError for latents too small to have a spectrum."""
        check_wide(mean)
