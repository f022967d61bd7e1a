"""Robustness: how well a decoder bears noise on the latents, as a diffusion model leaves it."""

import math
from collections.abc import Sequence

import torch

# sqrt(0.005) is the paper's noise; 0 is the plain reconstruction.
SIGMAS = (0.0, math.sqrt(0.005), 0.15, 0.3, 0.6)


def psnr(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """PSNR in dB of each clip, (B, 3, T, H, W) in [-1, 1] clamped and seen as [0, 1]: (B,)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # takes seconds to import

    a, b = ((x.float().clamp(-1, 1) + 1) / 2 for x in (reconstruction, clips))
    return torch.stack(
        [peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in zip(a, b, strict=True)]
    )


class Robustness:
    """Accumulate the PSNR of decodings of z + sigma * n, with n standard normal."""

    def __init__(self, sigmas: Sequence[float] = SIGMAS, seed: int = 0):
        self.sigmas, self.seed = tuple(sigmas), seed
        self._total, self._clips = torch.zeros(len(self.sigmas), dtype=torch.float64), 0

    @torch.no_grad()
    def update(self, vae, z: torch.Tensor, clips: torch.Tensor) -> "Robustness":
        """Add clips (B, 3, T, H, W) and their latents z; the noise depends on their order alone."""
        order = range(self._clips, self._clips + len(z))
        noise = torch.stack(
            [
                torch.randn(z.shape[1:], generator=torch.Generator().manual_seed(self.seed + i))
                for i in order
            ]
        ).to(z)
        for j, sigma in enumerate(self.sigmas):
            decoded = vae.decode(z + sigma * noise).sample
            self._total[j] += psnr(decoded, clips).double().sum().item()
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
