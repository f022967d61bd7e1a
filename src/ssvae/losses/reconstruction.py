"""How far a reconstruction is from its clip, and what the latents cost.

All terms are a mean over the clip's elements: the published sums over 3 * T * H * W divided by
that number, so that their ratio is the published one and their size does not depend on the clip's.
"""

import torch

from ssvae.data.pixels import as_seen
from ssvae.models.posterior import DiagonalGaussian


def full(x: torch.Tensor) -> torch.Tensor:
    """``x`` in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def l1_loss(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of two (B, C, T, H, W): a scalar.

    Of clips with alpha it is that of what is seen, before black and before white. For colours are
    premultiplied, a colour's own error counts by its alpha: nothing where nothing is seen.
    """
    return (as_seen(reconstruction) - as_seen(clips)).abs().mean()


def under_variance(error: torch.Tensor, log_variance: torch.Tensor | None) -> torch.Tensor:
    """The negative log-likelihood of an error whose scale is learned: a scalar from two.

    error / exp(log_variance) + log_variance, as published; the error itself without a variance.
    """
    return error if log_variance is None else error * torch.exp(-log_variance) + log_variance


def kl_loss(posterior: DiagonalGaussian, clips: torch.Tensor) -> torch.Tensor:
    """KL divergence to N(0, 1) in nats per element of the clips (B, C, T, H, W): a scalar."""
    return posterior.kl().mean() / clips[0].numel()
