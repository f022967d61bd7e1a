"""Future dropping: decode whole clips from the latents of their beginnings (PV-VAE, arXiv
2605.02134).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.registry import Decoded, Hooks, LatentSpec, RegularizerConfig, Term

__all__ = ["FutureDropping", "FutureDroppingConfig", "motion_loss"]


Padding = Literal["learned", "gaussian", "zeros"]


class FutureDropping(nn.Module):
    """Replace all latent frames behind a drawn one by padding, in training only.

    The decoder reconstructs what was seen and predicts the rest:  L = d(x, D([z_1 ... z_k, p ...
    p])). The paper encodes the k first groups of frames alone; a causal encoder gives the same
    latents for them in a pass over the whole clip.

    Args:
        channels: latent channels C.
        probability: the share of samples whose future is dropped; their k is 1 to T - 1, each as
            likely.
        padding: p is one learned token for all frames and positions (the paper's best), standard
            Gaussian noise (its other form), or zeros, the prior's mean.

    ``token`` is the learned parameter, (1, C, 1, 1, 1), at first 0; there is none with other
    paddings. It takes part in every call, so that its gradient exists where nothing is dropped, and
    distributed training never waits for it. In eval mode the module is the identity.
    """

    token: nn.Parameter | None

    def __init__(self, channels: int, probability: float = 0.5, padding: Padding = "learned"):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        if padding not in get_args(Padding):
            raise ValueError(
                f"padding must be one of {', '.join(get_args(Padding))}, got {padding!r}"
            )
        self.channels, self.probability, self.padding = channels, probability, padding
        learned = nn.Parameter(torch.zeros(1, channels, 1, 1, 1)) if padding == "learned" else None
        self.register_parameter("token", learned)

    def forward(
        self, z: torch.Tensor, generator: torch.Generator | Draws | None = None
    ) -> torch.Tensor:
        """Latents (B, C, T, H, W) to the same with padding from some frame on; of images (B, C, H,
        W), and of clips of one latent frame, as they are.

        ``generator`` draws, or :class:`Draws` where processes share a batch; without it the global
        state of ``z``'s device does.
        """
        if z.ndim not in (4, 5) or z.shape[1] != self.channels:
            raise ValueError(
                f"latents must be (batch, {self.channels}, [frames,] height, width), got "
                f"{tuple(z.shape)}"
            )
        check_numbers(z)
        if not self.training:
            return z
        video = z.unsqueeze(2) if z.ndim == 4 else z
        B, T = len(video), video.shape[2]
        draws = Draws.of(generator)
        kept = torch.full((B, 1), T, device=z.device)
        if T > 1:
            acts, place = draws.rand((B, 2), z).to(z.device).unbind(1)
            drawn = torch.where(acts < self.probability, 1 + (place * (T - 1)).floor(), T)
            kept = drawn[:, None]
        is_kept = torch.arange(T, device=z.device) < kept
        padded = torch.where(is_kept.view(B, 1, T, 1, 1), video, self._pad(video, draws))
        return padded.view_as(z)

    def _pad(self, video: torch.Tensor, draws: Draws) -> torch.Tensor:
        """What stands for the future, of a shape that the latents' broadcasts with."""
        if self.token is not None:
            return self.token.to(video.dtype)
        if self.padding == "gaussian":
            return draws.randn(video.shape, video).to(video.device, video.dtype)
        return torch.zeros((), device=video.device, dtype=video.dtype)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"{self.channels}, probability={self.probability}, padding={self.padding!r}"


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
    padding: Padding = "learned"
    """What stands for the future: a learned token, Gaussian noise, or zeros."""
    motion_weight: float = 1.0
    """Weight of the error of differences between frames, beside L1."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Latents that end early, and the motion's error as a term."""
        if not 0 <= self.motion_weight < math.inf:
            raise ValueError(f"motion_weight must be at least 0, got {self.motion_weight}")
        module = FutureDropping(latents.channels, self.probability, self.padding)
        return Hooks(module, latents=module, terms=self._terms if self.motion_weight else None)

    def _terms(self, step: Decoded) -> Mapping[str, Term]:
        return {"motion": Term(self.motion_weight, motion_loss(step.reconstruction, step.target))}
