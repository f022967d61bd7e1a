"""The joint spectrum: latents as independent modes over channels and frequencies together.

Shape legend: B clips, C channels, T frames, H height, W width of the latents; F = T H W
frequencies.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from ssvae.transforms import dct3, inverse_dct3

NODES = 64
"""Points of the Gauss-Hermite rule that integrates over logit-normal times."""


@dataclass(frozen=True)
class JointResult:
    """Modes of standardised latents: at each frequency the principal components of the channels.

    To second order, and as far as frequencies do not correlate, they are independent.
    """

    variances: torch.Tensor
    """(F, C) in float64, at each frequency descending; their mean is 1 where no channel is dead."""
    vectors: torch.Tensor
    """(F, C, C): at each frequency the modes as columns, in standardised channels."""
    mean: torch.Tensor
    """Mean of each channel (C,)."""
    std: torch.Tensor
    """Deviation of each channel (C,); 0 where it is dead."""
    shape: tuple[int, int, int]
    """(T, H, W)."""

    @cached_property
    def sorted(self) -> torch.Tensor:
        """All variances (F C,), descending."""
        return self.variances.flatten().sort(descending=True).values

    def concentration(self, share: float) -> float:
        """The share of the variance in this share of the modes, the strongest."""
        modes = self.sorted
        return float(modes[: max(1, round(share * len(modes)))].sum() / modes.sum())

    @property
    def effective_share(self) -> float:
        """exp of the entropy of the modes' shares over their number: 1 for white noise."""
        shares = self.sorted / self.sorted.sum()
        return math.exp(float(torch.special.entr(shares).sum())) / len(shares)

    def irreducible_loss(self, mean: float | None = None, std: float = 1.0) -> float:
        """What no model can learn of the velocity, if the latents were Gaussian: a mean over modes.

        With x_t = (1 - t) x + t e the velocity e - x of a mode of variance s has the variance
        s / ((1 - t)² s + t²) given x_t. Times are uniform, where the integral is pi/2 sqrt(s) (the
        VIV of arXiv 2606.03578), or logit-normal of this ``mean`` and ``std``, t near 1 being
        noise.
        """
        variances = self.variances.flatten()
        if mean is None:
            return float(math.pi / 2 * variances.sqrt().mean())
        nodes, weights = _hermite()
        t = torch.sigmoid(mean + std * nodes)[:, None]
        losses = variances / ((1 - t).square() * variances + t.square())
        return float((weights[:, None] * losses).sum(0).mean())

    def strongest(self, z: torch.Tensor, share: float) -> torch.Tensor:
        """Latents (B, C, T, H, W) with all but this share of the modes, the strongest, at their
        mean.
        """
        least = self.sorted[max(1, round(share * self.variances.numel())) - 1]
        scale = torch.where(self.std > 0, self.std, 1).view(-1, 1, 1, 1)
        mean = self.mean.view(-1, 1, 1, 1)
        modes = torch.einsum("fij,bif->bjf", self.vectors, _rows((z.cpu().double() - mean) / scale))
        kept = modes * (self.variances >= least).T
        rows = torch.einsum("fij,bjf->bif", self.vectors, kept)
        back = inverse_dct3(rows.unflatten(2, self.shape))
        return (back * scale + mean).to(z)


class JointSpectrum:
    """Accumulate the covariance of the channels at each frequency: F C² numbers."""

    def __init__(self) -> None:
        self.clips = 0
        self._shape: tuple[int, ...] | None = None
        self._second: torch.Tensor | None = None  # (F, C, C), summed over clips
        self._dc: torch.Tensor | None = None  # (C,), coefficients at f = 0, summed over clips

    def update(self, z: torch.Tensor) -> "JointSpectrum":
        """Add latents (B, C, T, H, W), or (B, C, H, W) for images."""
        z = z.detach().cpu().double()
        z = z.unsqueeze(2) if z.ndim == 4 else z
        if z.ndim != 5 or (self._shape is not None and tuple(z.shape[1:]) != self._shape):
            raise ValueError(
                "latents must be (batch, channels, [frames,] height, width) of one size, got "
                f"{tuple(z.shape)}" + (f" after latents of {self._shape}" if self._shape else "")
            )
        rows = _rows(z)
        self._add(
            torch.einsum("bif,bjf->fij", rows, rows), rows[..., 0].sum(0), len(z), z.shape[1:]
        )
        return self

    def merge(self, other: "JointSpectrum") -> "JointSpectrum":
        """Add all that another accumulator has seen."""
        if other._second is not None and other._dc is not None and other._shape is not None:
            if self._shape not in (None, other._shape):
                raise ValueError(f"latents of one size are needed: {self._shape}, {other._shape}")
            self._add(other._second, other._dc, other.clips, other._shape)
        return self

    def result(self) -> JointResult:
        """The modes of all latents seen so far, each channel standardised."""
        if self._second is None or self._dc is None or self._shape is None:
            raise ValueError("a spectrum needs latents: call update before result")
        cells = math.prod(self._shape[1:])
        covariance, dc = self._second / self.clips, self._dc / self.clips
        mean = dc / math.sqrt(cells)
        # The mean touches f = 0 alone: its coefficient is sqrt(cells) times the channel's mean.
        covariance[0] -= cells * torch.outer(mean, mean)
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        variance = diagonal.mean(0).clamp(min=0)
        second = self._second.diagonal(dim1=1, dim2=2).mean(0) / self.clips
        live = variance > 1e-12 * second
        if not live.any():
            raise ValueError("a spectrum needs latents that vary: every channel is constant")
        std = variance.sqrt() * live
        scale = torch.where(live, std, math.inf)
        values, vectors = torch.linalg.eigh(covariance / torch.outer(scale, scale))
        t, h, w = self._shape[1:]
        return JointResult(values.flip(1).clamp(min=0), vectors.flip(2), mean, std, (t, h, w))

    def _add(
        self, second: torch.Tensor, dc: torch.Tensor, clips: int, shape: tuple[int, ...]
    ) -> None:
        if self._second is None or self._dc is None:
            self._second, self._dc = torch.zeros_like(second), torch.zeros_like(dc)
        self._shape = tuple(shape)
        self._second += second
        self._dc += dc
        self.clips += clips


def _rows(z: torch.Tensor) -> torch.Tensor:
    """(B, C, T, H, W) to its coefficients (B, C, F)."""
    return dct3(z).flatten(2)


def _hermite() -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights of a mean over the standard normal distribution."""
    # Golub and Welsch (1969): eigenvalues and first components of the recurrence's matrix.
    off = torch.arange(1, NODES, dtype=torch.float64).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return values, vectors[0].square()
