"""Reconstructions of clips of any length and size."""

import torch
import torch.nn.functional as F

from ssvae.models import AutoencoderKLSSVAE


@torch.no_grad()
def reconstruct_clips(vae: AutoencoderKLSSVAE, clips: torch.Tensor) -> torch.Tensor:
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
