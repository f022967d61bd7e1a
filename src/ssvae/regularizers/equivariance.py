"""Equivariance: latents that are scaled or turned decode to the clip that is scaled or turned.

Two forms of it. :class:`ScaleEquivariance` makes smaller pairs for a term besides (SE, arXiv
2502.14831); :class:`Equivariance` scales and turns the pair that is trained on, in a share of the
steps (EQ-VAE, arXiv 2502.09509). Shape legend: B batch, C channels, T frames, H height, W width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_pair, check_positive
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.registry import Decoded, Hooks, LatentSpec, RegularizerConfig, Term
from ssvae.transforms import resized

__all__ = ["Equivariance", "EquivarianceConfig", "ScaleEquivariance", "ScaleEquivarianceConfig"]

STEPS = 32  # scales are drawn from so many parts, as published


class ScaleEquivariance(nn.Module):
    """Smaller latents with the clip that they should decode to:  L = d(x, D(z)) + weight d(x',
    D(z')).

    z' and x' are z and x, scaled down in space by one drawn factor (SE, arXiv 2502.14831). Frames
    stay as they are. The loss takes a second pass through the decoder, on clips factor² times
    smaller.

    Args:
        factors: by how much sides shrink, each at least 1; one is drawn in each call.

    In eval mode the pair comes back as it is.
    """

    def __init__(self, factors: Sequence[float] = (2.0, 4.0)):
        super().__init__()
        if not factors or any(not 1 <= f < math.inf for f in factors):
            raise ValueError(f"factors must be numbers of at least 1, got {tuple(factors)}")
        self.factors = tuple(factors)

    def forward(
        self,
        z: torch.Tensor,
        clips: torch.Tensor,
        generator: torch.Generator | Draws | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (B, C, T, h, w) and clips (B, 3, T', H, W), or both without T, to a smaller pair.

        ``generator`` draws, once for the whole batch. Give one of the host, where the sizes are
        needed, or :class:`Draws`, which holds one.
        """
        check_pair(z, clips)
        if not self.training:
            return z, clips
        draws = Draws.of(generator)
        drawn = int(
            torch.randint(len(self.factors), (), generator=draws.host, device=draws.host_device)
        )
        return _resized_pair(z, clips, 1 / self.factors[drawn])

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"factors={self.factors}"


class Equivariance(nn.Module):
    """In a share of the calls, the pair of latents and clip scaled and turned alike:  d(τx, D(τz)).

    τ scales by s in space and turns by 90, 180 or 270 degrees (EQ-VAE, arXiv 2502.09509); s is
    drawn from 32nds of the range. One draw a call. Frames stay as they are, and so does the cost of
    a step, or it falls.

    Args:
        probability: the share of calls that change the pair; the paper's is a half.
        scales: the range of s, in (0, 1].
        turns: whether to turn besides.

    In eval mode the pair comes back as it is.
    """

    def __init__(
        self,
        probability: float = 0.5,
        scales: tuple[float, float] = (0.25, 1.0),
        turns: bool = True,
    ):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        if len(scales) != 2 or not 0 < scales[0] <= scales[1] <= 1:
            raise ValueError(f"scales must be a range in (0, 1], got {tuple(scales)}")
        self._steps = math.ceil(STEPS * scales[0]), math.floor(STEPS * scales[1])
        if self._steps[0] > self._steps[1]:
            raise ValueError(
                f"scales must hold a multiple of 1/{STEPS}, got {tuple(scales)}: give a wider range"
            )
        self.probability, self.scales, self.turns = probability, tuple(scales), turns

    def forward(
        self,
        z: torch.Tensor,
        clips: torch.Tensor,
        generator: torch.Generator | Draws | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (B, C, T, h, w) and clips (B, 3, T', H, W), or both without T, to a pair like it.

        ``generator`` draws, once for the whole batch. Give one of the host, where the sizes are
        needed, or :class:`Draws`, which holds one.
        """
        check_pair(z, clips)
        if not self.training:
            return z, clips
        draws = Draws.of(generator)
        drawn = torch.rand(3, generator=draws.host, device=draws.host_device)
        acts, scale, turn = drawn.tolist()
        if acts >= self.probability:
            return z, clips
        first, last = self._steps
        z, clips = _resized_pair(z, clips, (first + int(scale * (last - first + 1))) / STEPS)
        quarters = 1 + int(3 * turn) if self.turns else 0
        return torch.rot90(z, quarters, (-2, -1)), torch.rot90(clips, quarters, (-2, -1))

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"probability={self.probability}, scales={self.scales}, turns={self.turns}"


def _resized_pair(
    z: torch.Tensor, clips: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both scaled down, to whole latents and the pixels of these."""
    sides = [max(1, round(scale * side)) for side in z.shape[-2:]]
    pixels = [
        side * big // small
        for side, big, small in zip(sides, clips.shape[-2:], z.shape[-2:], strict=True)
    ]
    return resized(z, *sides), resized(clips, *pixels)


@dataclass(frozen=True, kw_only=True)
class ScaleEquivarianceConfig(RegularizerConfig):
    """Smaller latents decode to smaller clips, a term besides (SE, arXiv 2502.14831)."""

    NAME, TITLE, PAPER = "scale_equivariance", "scale equivariance (SE)", "2502.14831"
    SUMMARY = (
        "latents that are scaled down must decode to the clip that is scaled down: a term besides"
    )
    ORDER = -1

    weight: float = 0.25
    """Weight of the smaller pair's loss beside the whole one's; the default is ours."""
    factors: tuple[float, ...] = (2.0, 4.0)
    """By how much sides shrink."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """The smaller pair's loss as a term."""
        check_positive("weight", self.weight)
        module = ScaleEquivariance(self.factors)

        def terms(step: Decoded) -> Mapping[str, Term]:
            z, clips = module(step.z, step.clips, step.draws)
            return {self.NAME: Term(self.weight, step.error_of(z, clips))}

        return Hooks(module, terms=terms)

    @property
    def smallest_scale(self) -> float:
        """Of the smaller pair."""
        return 1 / max(self.factors)


@dataclass(frozen=True, kw_only=True)
class EquivarianceConfig(RegularizerConfig):
    """Latents and clip scaled and turned alike, instead (EQ-VAE, arXiv 2502.09509)."""

    NAME, TITLE, PAPER = "equivariance", "equivariance (EQ-VAE)", "2502.09509"
    SUMMARY = (
        "in a share of the steps latents and clip are scaled and turned alike, and that pair is "
        "trained on instead"
    )
    IS_JUDGED = True

    probability: float = 0.5
    """Share of steps that train on a changed pair."""
    scales: tuple[float, float] = (0.25, 1.0)
    """Range of the scales."""
    turns: bool = True
    """Turn by a quarter, a half or three quarters besides."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Another pair of latents and clip."""
        module = Equivariance(self.probability, self.scales, self.turns)
        return Hooks(module, pair=module)

    @property
    def smallest_scale(self) -> float:
        """Of the changed pair."""
        return min(self.scales)
