"""The frequency spectrum: how a VAE's latents share their energy among space-time frequencies.

Shape legend: B clips, C channels, T frames, H height, W width of the latents.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from ssvae.transforms import dct3


def _ranks(T: int, H: int, W: int) -> torch.Tensor:
    """3THW times the frequency f = (i/T + j/H + k/W)/3 of each cell (i, j, k): exact integers."""
    i, j, k = (torch.arange(n) for n in (T, H, W))
    return i[:, None, None] * (H * W) + j[:, None] * (T * W) + k * (T * H)


@dataclass(frozen=True)
class FrequencyResult:
    """A frequency spectrum over ``clips`` clips.

    Frequency means f = (i/T + j/H + k/W)/3 for the DCT coefficient (i, j, k), so 0 <= f < 1.
    Shares are of all energy, that at f = 0 included.
    """

    power: torch.Tensor
    """Mean power of each coefficient over clips and live channels, float64 (T, H, W)."""
    clips: int
    dead_channels: int
    """Channels of no variance, left out of the mean."""

    @cached_property
    def _sorted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cells by frequency, ties by (i, j, k): integer ranks and power."""
        ranks = _ranks(*self.power.shape).flatten()
        order = torch.argsort(ranks, stable=True)
        return ranks[order], self.power.flatten()[order]

    @property
    def frequencies(self) -> torch.Tensor:
        """f along the zigzag index (T*H*W,), ascending; 0 comes first."""
        return self._sorted[0].double() / (3 * self.power.numel())

    @property
    def curve(self) -> torch.Tensor:
        """Share of the energy along the zigzag index (T*H*W,); its sum is 1."""
        power = self._sorted[1]
        return power / power.sum()

    @property
    def time_curve(self) -> torch.Tensor:
        """Share of the energy at each frequency i/T in time alone (T,); its sum is 1."""
        return self.power.sum((1, 2)) / self.power.sum()

    @cached_property
    def _sorted_in_space(self) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``_sorted``, of the plane over (j, k), energies summed over time."""
        _, H, W = self.power.shape
        ranks = _ranks(1, H, W).flatten()
        order = torch.argsort(ranks, stable=True)
        return ranks[order], self.power.sum(0).flatten()[order]

    @property
    def space_frequencies(self) -> torch.Tensor:
        """(j/H + k/W)/2 along the zigzag index in space alone (H*W,), ascending."""
        ranks, power = self._sorted_in_space
        return ranks.double() / (2 * len(power))

    @property
    def space_curve(self) -> torch.Tensor:
        """Share of the energy along the zigzag index in space alone (H*W,); its sum is 1."""
        power = self._sorted_in_space[1]
        return power / power.sum()

    @property
    def low_share_of_noise(self) -> float:
        """The low share that white noise would have: that of the cells."""
        ranks, power = self._sorted
        return float((3 * ranks < len(power)).double().mean())

    @property
    def low_share(self) -> float:
        """Share of the energy at f < 1/9."""
        # In integers, for with 3 latent frames a whole plane of cells lies at exactly 1/9.
        ranks, _ = self._sorted
        return float(self.curve[3 * ranks < self.power.numel()].sum())

    @property
    def high_share(self) -> float:
        """Share of the energy at f above two thirds of the largest f."""
        ranks, _ = self._sorted
        return float(self.curve[3 * ranks > 2 * ranks[-1]].sum())

    @property
    def slope(self) -> float:
        """Least-squares slope of log power on log f, f = 0 and cells without power left out.

        NaN where fewer than two different frequencies remain.
        """
        keep = (self.frequencies > 0) & (self.curve > 0)
        x, y = self.frequencies[keep].log(), self.curve[keep].log()
        x = x - x.mean() if len(x) else x
        spread = x.square().sum()
        return float((x * y).sum() / spread) if spread > 0 else math.nan

    def sec(self, share: float = 0.5) -> float:
        """Spectral energy concentration (arXiv 2606.03578): energy above a share of the band.

        The band runs over the Manhattan index i + j + k up to its largest value, as defined there
        for images; 0.25 and 0.5 are the shares used there. Lower is smoother.
        """
        i, j, k = (torch.arange(n) for n in self.power.shape)
        index = i[:, None, None] + j[:, None] + k
        return float(self.power[index > share * index.max()].sum() / self.power.sum())


class FrequencySpectrum:
    """Accumulate the frequency spectrum of latents.

    Each channel is standardised, by ``mean`` and ``std`` (C,) where given and else by the
    statistics of all the latents seen; an orthonormal 3-D DCT-II over (T, H, W) gives the power.
    Sums are kept in float64, so the result does not depend on batches, order or merging. Channels
    whose variance is not over ``dead`` are counted and left out.
    """

    def __init__(
        self,
        mean: torch.Tensor | None = None,
        std: torch.Tensor | None = None,
        dead: float = 0.0,
    ):
        self.dead = dead
        if (mean is None) != (std is None):
            raise ValueError("give both mean and std, or neither")
        self.mean, self.std = (
            None if s is None else torch.as_tensor(s, dtype=torch.float64, device="cpu")
            for s in (mean, std)
        )
        self.clips = 0
        self._power: torch.Tensor | None = None  # (C, T, H, W), summed over clips
        self._dc: torch.Tensor | None = None  # (C,), the coefficient at f = 0, summed over clips

    def update(self, z: torch.Tensor) -> "FrequencySpectrum":
        """Add latents (B, C, T, H, W), or (B, C, H, W) for images."""
        z = z.detach().cpu().double()
        z = z.unsqueeze(2) if z.ndim == 4 else z
        if z.ndim != 5:
            raise ValueError(
                f"latents must be (batch, channels, [frames,] height, width), got {tuple(z.shape)}"
            )
        self._check_shape(z.shape[1:])
        coefficients = dct3(z)
        power, dc = coefficients.square().sum(0), coefficients[..., 0, 0, 0].sum(0)
        self._add(power, dc, z.shape[0])
        return self

    def merge(self, other: "FrequencySpectrum") -> "FrequencySpectrum":
        """Add all that another accumulator has seen."""
        if other._power is not None and other._dc is not None:
            self._check_shape(other._power.shape)
            self._add(other._power, other._dc, other.clips)
        return self

    def result(self) -> FrequencyResult:
        """The spectrum of all latents seen so far."""
        if self._power is None or self._dc is None:
            raise ValueError("a spectrum needs latents: call update before result")
        cells = self._power[0].numel()
        power = self._power / self.clips
        # The mean touches f = 0 alone: its coefficient is sqrt(cells) times the clip's mean.
        dc = self._dc / self.clips
        seen_mean = dc / math.sqrt(cells)
        second_moment = power.flatten(1).sum(1) / cells
        variance = (second_moment - seen_mean.square()).clamp(min=0)
        mean, std = self.mean, self.std
        if mean is None or std is None:
            mean, std = seen_mean, variance.sqrt()
        live = (variance > 1e-12 * second_moment) & (variance > self.dead) & (std > 0)
        if not live.any():
            raise ValueError(
                "a spectrum needs latents that vary: every channel is constant"
                + (f", or its variance not over {self.dead:g}" if self.dead else "")
            )
        power[:, 0, 0, 0] += cells * mean.square() - 2 * math.sqrt(cells) * mean * dc
        power = power[live] / std[live].square()[:, None, None, None]
        return FrequencyResult(
            power.mean(0).clamp(min=0), self.clips, dead_channels=int((~live).sum())
        )

    def _check_shape(self, shape: torch.Size) -> None:
        expected = self._power.shape if self._power is not None else None
        if expected is not None and shape != expected:
            raise ValueError(
                "all latents of one spectrum must have one shape, expected (channels, frames, "
                f"height, width) = {tuple(expected)}, got {tuple(shape)}: resize or cut the clips "
                "to one size"
            )
        if self.mean is not None and len(self.mean) != shape[0]:
            raise ValueError(f"mean and std have {len(self.mean)} channels, latents {shape[0]}")

    def _add(self, power: torch.Tensor, dc: torch.Tensor, clips: int) -> None:
        if self._power is None or self._dc is None:
            self._power, self._dc = torch.zeros_like(power), torch.zeros_like(dc)
        self._power += power
        self._dc += dc
        self.clips += clips
