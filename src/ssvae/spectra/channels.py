"""The channel spectrum: how a VAE's latents share their variance among channel modes."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class ChannelResult:
    """Statistics of the channel vectors at ``positions`` positions, all float64."""

    mean: torch.Tensor
    """Mean of each channel (C,)."""
    covariance: torch.Tensor
    """Covariance of the channels (C, C)."""
    positions: int

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation of each channel (C,)."""
        return self.covariance.diagonal().clamp(min=0).sqrt()

    @cached_property
    def eigenvalues(self) -> torch.Tensor:
        """Eigenvalues of the covariance (C,), descending."""
        return torch.linalg.eigvalsh(self.covariance).flip(0).clamp(min=0)

    @property
    def shares(self) -> torch.Tensor:
        """Each mode's share of the variance (C,), descending."""
        return self.eigenvalues / self.eigenvalues.sum()

    @property
    def explained(self) -> torch.Tensor:
        """Share of the variance in the first 1, 2, ... C modes (C,)."""
        return self.shares.cumsum(0)

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the shares: 1 for one mode, C for a flat spectrum."""
        return math.exp(float(torch.special.entr(self.shares).sum()))

    def modes(self, share: float = 0.9) -> int:
        """How many modes it takes to explain that share of the variance."""
        return int((self.explained < share - 1e-12).sum()) + 1

    @property
    def viv(self) -> float:
        """Velocity irreducible variance (arXiv 2606.03578) of the channels alone.

        The mean over modes of pi/2 * sqrt(lambda), with lambda the eigenvalues of the correlation
        matrix (each channel standardised, dead ones left out). For a Gaussian that is the variance
        of the flow's velocity given x_t, integrated over t. It is pi/2 for independent channels
        and falls with correlation. The paper's figure also takes positions and classes apart.
        """
        std = self.std[self.std > 0]
        live = self.covariance[self.std > 0][:, self.std > 0]
        eigenvalues = torch.linalg.eigvalsh(live / (std[:, None] * std)).clamp(min=0)
        return float(math.pi / 2 * eigenvalues.sqrt().mean())


class ChannelSpectrum:
    """Accumulate mean and covariance of latents' channel vectors over all positions."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: torch.Tensor | None = None
        self._scatter: torch.Tensor | None = None  # sum of outer products about the mean

    @classmethod
    def of(cls, result: ChannelResult) -> "ChannelSpectrum":
        """An accumulator that has seen what gave ``result``, to merge or to go on with."""
        spectrum = cls()
        scatter = result.covariance * result.positions
        spectrum._add(result.positions, result.mean, scatter)
        return spectrum

    def update(self, z: torch.Tensor) -> "ChannelSpectrum":
        """Add latents (B, C, ...), of any number of positions."""
        if z.ndim < 3:
            raise ValueError(f"latents must be (batch, channels, ...), got {tuple(z.shape)}")
        rows = z.detach().cpu().double().movedim(1, -1).flatten(0, -2)
        mean = rows.mean(0)
        centred = rows - mean
        self._add(len(rows), mean, centred.T @ centred)
        return self

    def merge(self, other: "ChannelSpectrum") -> "ChannelSpectrum":
        """Add all that another accumulator has seen."""
        if other._mean is not None and other._scatter is not None:
            self._add(other._count, other._mean, other._scatter)
        return self

    def result(self) -> ChannelResult:
        """The spectrum of all latents seen so far."""
        if self._mean is None or self._scatter is None:
            raise ValueError("a spectrum needs latents: call update before result")
        if not self._scatter.diagonal().any():
            raise ValueError("a spectrum needs latents that vary: every channel is constant")
        return ChannelResult(self._mean.clone(), self._scatter / self._count, self._count)

    def _add(self, count: int, mean: torch.Tensor, scatter: torch.Tensor) -> None:
        """Join two sets by their counts, means and scatters (Chan, Golub and LeVeque 1983)."""
        if self._mean is None or self._scatter is None:
            self._count, self._mean, self._scatter = count, mean.clone(), scatter.clone()
            return
        if mean.shape != self._mean.shape:
            raise ValueError(
                f"all latents of one spectrum must have {len(self._mean)} channels, got {len(mean)}"
            )
        total, step = self._count + count, mean - self._mean
        self._scatter = (
            self._scatter + scatter + torch.outer(step, step) * (self._count * count / total)
        )
        self._mean = self._mean + step * (count / total)
        self._count = total
