"""Robustness: how well a decoder bears noise on the latents, as a diffusion model leaves it."""

import math
import zlib
from collections.abc import Callable, Sequence

import torch

from ssvae.analysis.fidelity import psnr

# sqrt(0.005) is the paper's noise; 0 is the plain reconstruction.
SIGMAS = (0.0, math.sqrt(0.005), 0.15, 0.3, 0.6)

Decode = Callable[[torch.Tensor], torch.Tensor]


def keys_of(clips: torch.Tensor) -> list[int]:
    """A checksum of each clip (B, ...): it tells clips apart, and seeds what is drawn for one."""
    return [zlib.crc32(c.numpy().tobytes()) for c in clips.float().cpu().contiguous()]


class Robustness:
    """Accumulate the PSNR of decodings of z + sigma * n, with n standard normal."""

    def __init__(self, sigmas: Sequence[float] = SIGMAS, seed: int = 0):
        self.sigmas, self.seed = tuple(sigmas), seed
        self._total, self._clips = torch.zeros(len(self.sigmas), dtype=torch.float64), 0

    @torch.no_grad()
    def update(
        self,
        decode: Decode,
        z: torch.Tensor,
        clips: torch.Tensor,
        keys: Sequence[int],
        plain: torch.Tensor | None = None,
    ) -> "Robustness":
        """Add clips (B, 3, T, H, W) and their latents z.

        A clip's noise depends on its key alone, not on the order of the clips. ``plain`` is what z
        itself decodes to, where that is known.
        """
        noise = torch.stack(
            [
                torch.randn(z.shape[1:], generator=torch.Generator().manual_seed(self.seed + key))
                for key in keys
            ]
        ).to(z)
        for j, sigma in enumerate(self.sigmas):
            known = plain is not None and sigma == 0
            decoded = plain if known else decode(z + sigma * noise)
            assert decoded is not None
            self._total[j] += psnr(decoded, clips).cpu().double().sum().item()
        self._clips += len(z)
        return self

    def merge(self, other: "Robustness") -> "Robustness":
        """Add all that another accumulator of the same sigmas has seen."""
        if other.sigmas != self.sigmas:
            raise ValueError(f"sigmas must agree, got {self.sigmas} and {other.sigmas}")
        self._total += other._total
        self._clips += other._clips
        return self

    def result(self) -> dict[float, float]:
        """Mean PSNR in dB for each sigma."""
        if not self._clips:
            raise ValueError("robustness needs clips: call update before result")
        means = (self._total / self._clips).tolist()
        return dict(zip(self.sigmas, means, strict=True))
