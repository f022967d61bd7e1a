"""Future dropping: decode whole clips from the latents of their beginnings (PV-VAE, arXiv 2605.02134)."""

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.drawing import drawn_for_each


class FutureDropping(nn.Module):
    """Replace all latent frames behind a drawn one by zeros, in training only.

    The decoder reconstructs what was seen and predicts the rest:  L = d(x, D([z_1 ... z_k, 0 ... 0])).
    The paper encodes the k first groups of frames alone; a causal encoder gives the same latents for
    them in a pass over the whole clip. Zero, the prior's mean, is the padding that tells nothing.

    Args:
        probability: the share of samples whose future is dropped; their k is 1 to T - 1, each as likely.

    A clip of one latent frame has no future. In eval mode the module is the identity.
    """

    def __init__(self, probability: float = 0.5):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        self.probability = probability

    def forward(
        self,
        z: torch.Tensor,
        generator: torch.Generator | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> torch.Tensor:
        """Latents (B, C, T, H, W) to the same with zeros from some frame on; of images, as they are.

        ``generator`` draws; without it the global state of ``z``'s device does. Where processes share
        a batch, give ``share`` (process, processes) and each the same generator: the draws are those of
        one process with the whole batch.
        """
        if z.ndim not in (4, 5):
            raise ValueError(
                f"latents must be (batch, channels, [frames,] height, width), got {tuple(z.shape)}"
            )
        check_numbers(z)
        if not self.training or z.ndim == 4 or z.shape[2] == 1:
            return z
        B, T = len(z), z.shape[2]
        acts, place = drawn_for_each(torch.rand, (B, 2), z.device, generator, share).unbind(1)
        kept = torch.where(acts < self.probability, 1 + (place * (T - 1)).floor(), T)
        seen = torch.arange(T, device=kept.device) < kept[:, None]
        return z * seen.view(B, 1, T, 1, 1).to(z.device)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"probability={self.probability}"


def motion_loss(made: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """The mean absolute error of differences between frames, (B, 3, T, H, W), a scalar.

    Beside :class:`FutureDropping` it asks for what moves, where repeating the last frame would do for
    what does not (the paper's motion-aware term). Of one frame it is 0.
    """
    if made.ndim != 5 or made.shape != clips.shape:
        raise ValueError(
            "both must be (batch, 3, frames, height, width), got "
            f"{tuple(made.shape)} and {tuple(clips.shape)}"
        )
    if made.shape[2] == 1:
        return 0 * made.sum()
    return (made.diff(dim=2) - clips.diff(dim=2)).abs().mean()
