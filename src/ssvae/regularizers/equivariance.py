"""Equivariance: latents that are scaled or turned decode to the clip that is scaled or turned.

Two forms of it. :class:`ScaleEquivariance` makes smaller pairs for a term besides (SE, arXiv
2502.14831); :class:`Equivariance` scales and turns the pair that is trained on, in a share of the
steps (EQ-VAE, arXiv 2502.09509). Shape legend: B batch, C channels, T frames, H height, W width.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.regularizers.checks import check_numbers

STEPS = 32  # scales are drawn from so many parts, as published


class ScaleEquivariance(nn.Module):
    """Smaller latents with the clip that they should decode to:  L = d(x, D(z)) + weight d(x', D(z')).

    z' and x' are z and x, scaled down in space by one drawn factor (SE, arXiv 2502.14831). Frames stay
    as they are. The loss takes a second pass through the decoder, on clips factor² times smaller.

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
        self, z: torch.Tensor, clips: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (B, C, T, h, w) and clips (B, 3, T', H, W), or both without T, to a smaller pair.

        ``generator`` draws; give one of the host, for the sizes are needed there, and the same to all
        processes.
        """
        check_pair(z, clips)
        if not self.training:
            return z, clips
        drawn = int(
            torch.randint(len(self.factors), (), generator=generator, device=_of(generator))
        )
        return _resized_pair(z, clips, 1 / self.factors[drawn])

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"factors={self.factors}"


class Equivariance(nn.Module):
    """In a share of the calls, the pair of latents and clip scaled and turned alike:  d(τx, D(τz)).

    τ scales by s in space and turns by 90, 180 or 270 degrees (EQ-VAE, arXiv 2502.09509); s is drawn
    from 32nds of the range. One draw a call. Frames stay as they are, and so does the cost of a step,
    or it falls.

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
        self, z: torch.Tensor, clips: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (B, C, T, h, w) and clips (B, 3, T', H, W), or both without T, to a pair like it.

        ``generator`` draws; give one of the host, for the sizes are needed there, and the same to all
        processes.
        """
        check_pair(z, clips)
        if not self.training:
            return z, clips
        acts, scale, turn = torch.rand(3, generator=generator, device=_of(generator)).tolist()
        if acts >= self.probability:
            return z, clips
        first, last = self._steps
        z, clips = _resized_pair(z, clips, (first + int(scale * (last - first + 1))) / STEPS)
        quarters = 1 + int(3 * turn) if self.turns else 0
        return torch.rot90(z, quarters, (-2, -1)), torch.rot90(clips, quarters, (-2, -1))

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"probability={self.probability}, scales={self.scales}, turns={self.turns}"


def check_pair(z: torch.Tensor, clips: torch.Tensor) -> None:
    """A ValueError where latents and clips are no pair."""
    if z.ndim not in (4, 5) or clips.ndim != z.ndim or len(z) != len(clips):
        raise ValueError(
            "latents (batch, channels, [frames,] height, width) need clips with as many axes, a clip "
            f"for each, got {tuple(z.shape)} and {tuple(clips.shape)}"
        )
    check_numbers(z)
    check_numbers(clips, "clips")
    if any(big % small for big, small in zip(clips.shape[-2:], z.shape[-2:], strict=True)):
        raise ValueError(
            f"sides of clips must be multiples of those of their latents, got {tuple(z.shape[-2:])} "
            f"for {tuple(clips.shape[-2:])}"
        )


def resized(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Frames (..., H, W) in another size, bilinear and antialiased; in float32 where x is less.

    As two products with matrices, whose gradient is deterministic on a GPU, where interpolation's is not.
    """
    if (height, width) == x.shape[-2:]:
        return x
    with torch.autocast(x.device.type, enabled=False):
        frames = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        down, across = (
            _resizing(old, new, x.device, frames.dtype)
            for old, new in zip(x.shape[-2:], (height, width), strict=True)
        )
        return (down @ frames @ across.T).to(x.dtype)


@lru_cache(maxsize=256)
def _resizing(old: int, new: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """The linear map (new, old) of antialiased interpolation of a line."""
    lines = torch.eye(old, dtype=torch.float64)[:, None, None]  # (old, 1, 1, old)
    made = F.interpolate(lines, (1, new), mode="bilinear", antialias=True)
    return made[:, 0, 0].T.to(dtype).contiguous().to(device)


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


def _of(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device
