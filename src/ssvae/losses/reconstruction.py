"""How far a reconstruction is from its clip, and what the latents cost.

Both terms are a mean over the clip's elements: the published sums over 3 * T * H * W divided by
that number, so that their ratio is the published one and their size does not depend on the clip's.
"""

import torch

from ssvae.models.posterior import DiagonalGaussian


def l1_loss(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of two (B, 3, T, H, W): a scalar."""
    return (reconstruction - clips).abs().mean()


def kl_loss(posterior: DiagonalGaussian, clips: torch.Tensor) -> torch.Tensor:
    """KL divergence to N(0, 1) in nats per element of the clips (B, 3, T, H, W): a scalar."""
    return posterior.kl().mean() / clips[0].numel()
