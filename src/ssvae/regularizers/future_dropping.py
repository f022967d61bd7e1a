"""Future dropping: decode whole clips from the latents of their beginnings (PV-VAE, arXiv
2605.02134).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.registry import Decoded, Hooks, LatentSpec, RegularizerConfig, Term

__all__ = ["FutureDropping", "FutureDroppingConfig", "motion_loss"]


class FutureDropping(nn.Module):
    """Replace all latent frames behind a drawn one by zeros, in training only.

    The decoder reconstructs what was seen and predicts the rest:  L = d(x, D([z_1 ... z_k, 0 ...
    0])). The paper encodes the k first groups of frames alone; a causal encoder gives the same
    latents for them in a pass over the whole clip. Zero, the prior's mean, is the padding that
    tells nothing.

    Args:
        probability: the share of samples whose future is dropped; their k is 1 to T - 1, each as
            likely.

    A clip of one latent frame has no future. In eval mode the module is the identity.
    """

    def __init__(self, probability: float = 0.5):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        self.probability = probability

    def forward(
        self, z: torch.Tensor, generator: torch.Generator | Draws | None = None
    ) -> torch.Tensor:
        """Latents (B, C, T, H, W) to the same with zeros from some frame on; of images, as they
        are.

        ``generator`` draws, or :class:`Draws` where processes share a batch; without it the global
        state of ``z``'s device does.
        """
        if z.ndim not in (4, 5):
            raise ValueError(
                f"latents must be (batch, channels, [frames,] height, width), got {tuple(z.shape)}"
            )
        check_numbers(z)
        if not self.training or z.ndim == 4 or z.shape[2] == 1:
            return z
        B, T = len(z), z.shape[2]
        acts, place = Draws.of(generator).rand((B, 2), z).unbind(1)
        kept = torch.where(acts < self.probability, 1 + (place * (T - 1)).floor(), T)
        is_kept = torch.arange(T, device=kept.device) < kept[:, None]
        return z * is_kept.view(B, 1, T, 1, 1).to(z.device)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"probability={self.probability}"


def motion_loss(reconstruction: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """The mean absolute error of differences between frames, (B, 3, T, H, W), a scalar.

    Beside :class:`FutureDropping` it asks for what moves, where repeating the last frame would do
    for what does not (the paper's motion-aware term). Of one frame it is 0.
    """
    if reconstruction.ndim != 5 or reconstruction.shape != clips.shape:
        raise ValueError(
            "both must be (batch, 3, frames, height, width), got "
            f"{tuple(reconstruction.shape)} and {tuple(clips.shape)}"
        )
    if reconstruction.shape[2] == 1:
        return 0 * reconstruction.sum()
    return (reconstruction.diff(dim=2) - clips.diff(dim=2)).abs().mean()


@dataclass(frozen=True, kw_only=True)
class FutureDroppingConfig(RegularizerConfig):
    """Latents without their future (PV-VAE, arXiv 2605.02134); the numbers are ours."""

    NAME, TITLE, PAPER = "future_dropping", "dropped future (PV-VAE)", "2605.02134"
    SUMMARY = (
        "decodes whole clips from their beginnings' latents; `motion_loss` asks for what moves"
    )

    probability: float = 0.5
    """Share of clips that are cut short."""
    motion_weight: float = 1.0
    """Weight of the error of differences between frames, beside L1."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Latents that end early, and the motion's error as a term."""
        if not 0 <= self.motion_weight < math.inf:
            raise ValueError(f"motion_weight must be at least 0, got {self.motion_weight}")
        module = FutureDropping(self.probability)
        return Hooks(module, latents=module, terms=self._terms if self.motion_weight else None)

    def _terms(self, step: Decoded) -> Mapping[str, Term]:
        return {"motion": Term(self.motion_weight, motion_loss(step.reconstruction, step.target))}
