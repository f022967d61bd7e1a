"""Invertible linear maps of latents: the same information under another spectrum.

A diffusion model learns in the mapped space; what it makes goes back through the inverse before
it is decoded, so that only the spectrum differs and never what can be said. Every map is linear
after a shift and keeps the shape (B, C, T, H, W).

    y = scramble(tilt(A (z - mean)))

with A a matrix over channels, a tilt a gain for each space-time frequency, and a permutation of
positions inside windows.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from ssvae.spectra.channels import ChannelResult
from ssvae.spectra.frequency import FrequencySpectrum
from ssvae.storage.problems import Problems
from ssvae.transforms import dct3, inverse_dct3

NORMALIZATIONS = ("standardised", "global", "principal", "whitened")
FLOOR = 1e-3
"""Modes and frequencies weaker than this share of the strongest are not amplified further."""


@dataclass(frozen=True)
class MapConfig:
    """Which map to fit."""

    normalization: str = "standardised"
    """standardised: each channel to mean 0 and variance 1, as usual. global: channels as
    they are, under one scale for all. principal: rotated to principal components under one scale,
    the natural eigenspectrum. whitened: principal components of variance 1 each, a flat one."""
    power: float = 1.0
    """Exponent on the amplitude of each space-time frequency: 1 leaves it, 0 whitens, above 1
    biases to low frequencies. The total variance stays."""
    scramble: tuple[int, int, int] | None = None
    """Permute positions inside windows of this many latent frames, rows and columns."""

    def __post_init__(self) -> None:
        problems, window = Problems(), self.scramble
        problems.one_of(self, "normalization", NORMALIZATIONS)
        problems.require(0 <= self.power <= 4, f"power must be between 0 and 4, got {self.power}")
        problems.require(
            window is None or min(window) >= 1,
            f"scramble must hold positive window sides, got {window}",
        )
        problems.check("a map cannot be so")


class LatentMap(torch.nn.Module):
    """An invertible linear map of latents (B, C, T, H, W); see :mod:`ssvae.latents.maps`.

    Args:
        mean: (C,), taken off first.
        matrix: (C, C), applied to the channel vectors.
        gain: (T, H, W), a factor for each DCT coefficient; None leaves all.
        order: (T, H, W), the position (counted in that order) that each position's value is taken
            from; None keeps all.

    A map with neither gain nor order takes latents of any size, others of their one size.

    ``encoder`` is the fingerprint of the latents that it was fitted to; empty where nothing is
    known.
    """

    encoder: str = ""

    def __init__(
        self,
        mean: torch.Tensor,
        matrix: torch.Tensor,
        gain: torch.Tensor | None = None,
        order: torch.Tensor | None = None,
    ):
        super().__init__()
        double = matrix.double()
        if torch.linalg.cond(double) > 1e6:
            raise ValueError(
                "the map's matrix over channels is nearly singular (condition number above 1e6): "
                "a channel of no variance cannot be scaled up; leave it out of the latents"
            )
        self.mean: torch.Tensor
        self.matrix: torch.Tensor
        self.inverse_matrix: torch.Tensor
        self.gain: torch.Tensor | None
        self.order: torch.Tensor | None
        self.register_buffer("mean", mean.float())
        self.register_buffer("matrix", matrix.float())
        self.register_buffer("inverse_matrix", torch.linalg.inv(double).float())
        self.register_buffer("gain", None if gain is None else gain.float())
        self.register_buffer("order", order)

    def _apply(self, fn: Any, recurse: bool = True) -> "LatentMap":
        """Move it where the model goes, but keep its precision: rounded, it would not be undone."""
        exact = {k: v for k, v in self._buffers.items() if v is not None}
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = self._buffers[name]
            assert moved is not None
            self._buffers[name] = moved if moved.dtype == buffer.dtype else buffer.to(moved.device)
        return self

    @property
    def size(self) -> tuple[int, int, int] | None:
        """The latents' (T, H, W) that the map is for; None where it takes any."""
        for cube in (self.gain, self.order):
            if cube is not None:
                T, H, W = cube.shape
                return T, H, W
        return None

    @property
    def diagonal(self) -> bool:
        """Whether it does no more than shift and scale each channel by itself."""
        off = self.matrix - torch.diag(self.matrix.diagonal())
        return self.gain is None and self.order is None and not bool(off.any())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """A VAE's latents to those that the diffusion model learns."""
        self._check(z)
        dtype, z = z.dtype, z.float()
        y = _over_channels(self.matrix, z - self.mean.view(-1, 1, 1, 1))
        if self.gain is not None:
            y = inverse_dct3(dct3(y) * self.gain)
        if self.order is not None:
            y = y.flatten(2)[..., self.order.flatten()].view_as(y)
        return y.to(dtype)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """The diffusion model's latents back to the VAE's."""
        self._check(y)
        dtype, y = y.dtype, y.float()
        if self.order is not None:
            y = y.flatten(2)[..., self.order.flatten().argsort()].view_as(y)
        if self.gain is not None:
            y = inverse_dct3(dct3(y) / self.gain)
        return (_over_channels(self.inverse_matrix, y) + self.mean.view(-1, 1, 1, 1)).to(dtype)

    def _check(self, z: torch.Tensor) -> None:
        if z.ndim != 5 or z.shape[1] != len(self.mean):
            raise ValueError(
                f"the map takes latents (batch, {len(self.mean)}, frames, height, width), got "
                f"{tuple(z.shape)}"
            )
        if self.size is not None and tuple(z.shape[2:]) != self.size:
            raise ValueError(
                f"the map is for latents of {self.size} frames, rows and columns, got "
                f"{tuple(z.shape[2:])}: fit one for this size"
            )


def _over_channels(matrix: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return torch.einsum("dc,bcthw->bdthw", matrix, z)


def channel_matrix(spectrum: ChannelResult, kind: str) -> torch.Tensor:
    """The (C, C) matrix of a :class:`MapConfig`'s ``channels``, for latents of these statistics.

    The mean variance of a channel after it is 1.
    """
    C = len(spectrum.mean)
    total = spectrum.covariance.diagonal().sum() / C
    if kind == "standardised":
        if not (spectrum.std > 0).all():
            dead = (spectrum.std <= 0).nonzero().flatten().tolist()
            raise ValueError(f"channels {dead} do not vary: there is nothing to standardise")
        return torch.diag(1 / spectrum.std)
    if kind == "global":
        return torch.eye(C, dtype=torch.float64) / total.sqrt()
    values, vectors = torch.linalg.eigh(spectrum.covariance)
    rotation = vectors.flip(1).T  # rows: components, the strongest first
    # An eigenvector's sign is free; fix it, so that the map is the same on every machine.
    strongest = rotation.gather(1, rotation.abs().argmax(1, keepdim=True))
    rotation = rotation * strongest.sign()
    if kind == "principal":
        return rotation / total.sqrt()
    # Modes below the floor hold next to nothing: to raise them to 1 would raise rounding.
    floored = values.flip(0).clamp(min=float(values.max()) * FLOOR**2)
    return rotation / floored.sqrt()[:, None]


def frequency_gain(power: torch.Tensor, exponent: float) -> torch.Tensor:
    """Gains (T, H, W) that turn the amplitude a of each frequency into a^exponent, in scale.

    ``power`` is the cube of mean power; the total of power times gain squared stays that of
    ``power``. A ValueError where the gains differ by more than 1000: in float32 the inverse would
    not give back what was there.
    """
    floored = power.clamp(min=float(power.max()) * FLOOR**2)
    spread = float(floored.max() / floored.min()) ** (abs(exponent - 1) / 2)
    if spread > 1000:
        raise ValueError(
            f"power {exponent} asks for gains that differ by {spread:.0f} between frequencies, "
            "more than 1000: choose a power nearer to 1"
        )
    gain = floored.sqrt() ** (exponent - 1)
    return gain * (power.sum() / (power * gain.square()).sum()).sqrt()


def scrambled_order(
    size: tuple[int, int, int], window: tuple[int, int, int], seed: int = 0
) -> torch.Tensor:
    """A permutation (T, H, W) that moves positions inside their window only, each window its
    own.
    """
    generator = torch.Generator().manual_seed(seed)
    positions = torch.arange(math.prod(size)).view(size)
    order = positions.clone()
    starts = [range(0, n, w) for n, w in zip(size, window, strict=True)]
    for t in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                block = (
                    slice(t, t + window[0]),
                    slice(y, y + window[1]),
                    slice(x, x + window[2]),
                )
                inside = positions[block].flatten()
                mixed = inside[torch.randperm(len(inside), generator=generator)]
                order[block] = mixed.view(order[block].shape)
    return order


def fit_map(
    statistics: ChannelResult,
    size: tuple[int, int, int],
    config: MapConfig = MapConfig(),
    latents: Iterable[torch.Tensor] = (),
) -> LatentMap:
    """Fit a map to a VAE's latents.

    Args:
        statistics: of the channels.
        size: latent frames, rows and columns.
        config: which map.
        latents: batches (B, C, T, H, W), read once, and only where ``config.power`` is not 1.
    """
    matrix = channel_matrix(statistics, config.normalization)
    gain = order = None
    if config.power != 1:
        ones = torch.ones(len(matrix), dtype=torch.float64)
        plain = LatentMap(statistics.mean, matrix)
        frequency = FrequencySpectrum(torch.zeros_like(ones), ones)
        for z in latents:
            frequency.update(plain(z))
        gain = frequency_gain(frequency.result().power, config.power)
    if config.scramble is not None:
        order = scrambled_order(size, config.scramble)
    return LatentMap(statistics.mean, matrix, gain, order)
