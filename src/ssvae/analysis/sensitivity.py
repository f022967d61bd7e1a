"""What a decoder loses where part of its latents is disturbed or missing.

Shape legend: N clips, C channels, T frames, H height, W width of the latents.
"""

from collections.abc import Callable

import torch

from ssvae.analysis.fidelity import psnr
from ssvae.transforms import dct3, inverse_dct3

NOISE = 0.3
"""Deviation of the noise, in units of each channel's."""
DROPPED = 0.25
"""Share of the channels that are dropped."""


@torch.no_grad()
def sensitivity(
    latents_NCTHW: torch.Tensor,
    clips: torch.Tensor,
    decode: Callable[[torch.Tensor], torch.Tensor],
    seed: int = 0,
    batch_size: int = 16,
) -> dict[str, float]:
    """PSNR in dB, over clips (N, 3, T, H, W), that each disturbance of their latents costs.

    ``lost_to_noise_in_deviations``: noise of .3 deviations of each channel. ``lost_to_low_pass``:
    without the upper half of the frequencies of rows and of columns (LC-VAE, arXiv 2604.16479;
    FreqWarm). ``lost_to_dropped_channels``: a quarter of the channels, others for each clip, at
    their mean.
    """
    z = latents_NCTHW.float()
    std, mean = torch.std_mean(z, (0, 2, 3, 4), keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(z.shape, generator=generator).to(z)
    order = torch.rand(z.shape[:2], generator=generator).argsort(1).argsort(1).to(z.device)
    dropped = order < max(1, round(DROPPED * z.shape[1]))
    disturbed = {
        "lost_to_noise_in_deviations": z + NOISE * std * noise,
        "lost_to_low_pass": _low_pass(z),
        "lost_to_dropped_channels": torch.where(dropped[:, :, None, None, None], mean, z),
    }

    def quality(latents: torch.Tensor) -> torch.Tensor:
        parts = zip(latents.split(batch_size), clips.split(batch_size), strict=True)
        return torch.cat([psnr(decode(z).to(x), x).double().cpu() for z, x in parts]).mean()

    plain = quality(z)
    return {name: float(plain - quality(latents)) for name, latents in disturbed.items()}


def _low_pass(z: torch.Tensor) -> torch.Tensor:
    """Without the upper half of the frequencies of rows and of columns; at least the mean stays."""
    coefficients = dct3(z)
    H, W = z.shape[3:]
    coefficients[:, :, :, max(1, H // 2) :] = 0
    coefficients[..., max(1, W // 2) :] = 0
    return inverse_dct3(coefficients)
