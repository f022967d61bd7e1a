"""Reconstructions of clips, and how good they are."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ssvae.data.batch import in_batches
from ssvae.models import AutoencoderKLSSVAE
from ssvae.spectra.fidelity import psnr, ssim


@torch.no_grad()
def reconstruct(vae: AutoencoderKLSSVAE, clips: torch.Tensor) -> torch.Tensor:
    """Encode and decode clips (B, 3, T, H, W) of any length and size, from the posterior's mean.

    The last frame and the right and lower edges are repeated up to the next size that fits, and
    cut off again.
    """
    T, H, W = clips.shape[2:]
    side = vae.space_factor
    padded = F.pad(clips, (0, -W % side, 0, -H % side, 0, 0), mode="replicate")
    padded = padded.to(vae.device, vae.dtype)
    latents = vae.encode(padded, pad=True).latent_dist.mode()
    return vae.decode(latents, num_frames=T).sample[..., :H, :W].to(clips)


@dataclass(frozen=True)
class ReconstructionScores:
    """Means over clips."""

    psnr: float
    """dB, over [0, 1]."""
    ssim: float
    clips: int


def score_reconstruction(
    vae: AutoencoderKLSSVAE, clips: torch.Tensor | Iterable[torch.Tensor]
) -> ReconstructionScores:
    """PSNR and SSIM of reconstructions, over batches (B, 3, T, H, W) in [-1, 1] or one tensor."""
    values: list[torch.Tensor] = []
    for batch in in_batches(clips):
        made = reconstruct(vae, batch)
        values.append(torch.stack([psnr(made, batch), ssim(made, batch)]))
    if not values:
        raise ValueError("scores need at least one batch of clips, got none")
    means = torch.cat(values, 1).double().mean(1).tolist()
    return ReconstructionScores(*means, clips=sum(v.shape[1] for v in values))
