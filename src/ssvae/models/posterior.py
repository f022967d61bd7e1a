"""The encoder's output: a diagonal Gaussian over latents."""

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution


class DiagonalGaussian(DiagonalGaussianDistribution):
    """A diagonal Gaussian posterior, made of moments (B, 2C, t, h, w).

    The first C channels are the mean, the rest the log-variance (clamped to [-30, 20]).
    ``mean``, ``logvar``, ``std``, ``sample(generator)`` and ``mode()`` are those of diffusers;
    ``kl`` is correct for any number of axes, where diffusers' sums over just three.
    """

    mean: torch.Tensor
    logvar: torch.Tensor
    var: torch.Tensor

    def kl(self, other: DiagonalGaussianDistribution | None = None) -> torch.Tensor:
        """KL divergence in nats, summed over all axes but the batch: (B,).

        Against ``other``, or against the standard normal where ``other`` is None.
        """
        if other is None:
            kl = self.mean.square() + self.var - 1 - self.logvar
        else:
            kl = (
                ((self.mean - other.mean).square() + self.var) / other.var
                - 1
                - self.logvar
                + other.logvar
            )
        return 0.5 * kl.flatten(1).sum(1)


class Deterministic:
    """What an encoder without a variance gives: latents (B, C, t, h, w), which are its mode."""

    def __init__(self, parameters: torch.Tensor):
        self.parameters = self.mean = parameters

    def mode(self) -> torch.Tensor:
        """The latents."""
        return self.parameters

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """The latents: there is nothing to draw."""
        return self.parameters
