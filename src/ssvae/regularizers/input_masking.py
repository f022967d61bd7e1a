"""Input masking: reconstruct whole clips of which the encoder sees a part (l-DeTok, arXiv
2507.15856).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.draws import Draws, rows_of_blocks
from ssvae.regularizers.registry import Hooks, LatentSpec, RegularizerConfig

__all__ = ["InputMasking", "InputMaskingConfig"]


class InputMasking(nn.Module):
    """Grey out a random share of a clip's patches before it is encoded, in training only.

    Each sample draws its share from U(-0.1, max_ratio), where less than 0 is 0, and a mask of its
    own. The first frame is a row of patches of its own, as a causal VAE's first latent stands for
    one frame. (The paper's transformer leaves masked patches out; to a convolution they are the
    grey, 0.)

    Args:
        max_ratio: the largest share of patches, in [0, 1]; the paper's is .7.
        patch: a patch in frames, rows and columns; a latent's are its VAE's factors.

    In eval mode the module is the identity.
    """

    LOWEST = -0.1

    def __init__(self, max_ratio: float = 0.7, patch: Sequence[int] = (4, 8, 8)):
        super().__init__()
        if not 0 <= max_ratio <= 1:
            raise ValueError(f"max_ratio must be in [0, 1], got {max_ratio}")
        if len(patch) != 3 or min(patch) < 1:
            raise ValueError(
                f"a patch must be (time, height, width), each >= 1, got {tuple(patch)}"
            )
        t, h, w = patch
        self.max_ratio, self.patch = max_ratio, (t, h, w)

    def forward(
        self, clips: torch.Tensor, generator: torch.Generator | Draws | None = None
    ) -> torch.Tensor:
        """Clips (B, 3, T, H, W), or images (B, 3, H, W), to the same with patches at 0.

        ``generator`` draws, or :class:`Draws` where processes share a batch; without it the global
        state of the clips' device does.
        """
        if clips.ndim not in (4, 5):
            raise ValueError(
                f"clips must be (batch, 3, [frames,] height, width), got {tuple(clips.shape)}"
            )
        check_numbers(clips, "clips")
        if not self.training:
            return clips
        video = clips.unsqueeze(2) if clips.ndim == 4 else clips
        size = video.shape[2], video.shape[3], video.shape[4]
        patches, draws = math.prod(rows_of_blocks(size, self.patch)), Draws.of(generator)
        drawn = draws.rand((len(clips), 1), clips)
        ratios = self.LOWEST + (self.max_ratio - self.LOWEST) * drawn
        counts = (ratios.clamp(min=0) * patches).round()
        mask = draws.blocks(counts, video, self.patch)
        return video.masked_fill(mask.to(clips.device), 0).view_as(clips)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"max_ratio={self.max_ratio}, patch={self.patch}"


@dataclass(frozen=True, kw_only=True)
class InputMaskingConfig(RegularizerConfig):
    """Clips with patches greyed out (l-DeTok, arXiv 2507.15856)."""

    NAME, TITLE, PAPER = "input_masking", "input masking (l-DeTok)", "2507.15856"
    SUMMARY = "the encoder sees a clip with patches greyed out; the whole is reconstructed"
    SHAPES_LATENTS = True

    max_ratio: float = 0.7
    """Largest share of patches that are greyed out."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Clips with patches greyed out, a latent's each."""
        side = latents.space_factor
        module = InputMasking(self.max_ratio, (latents.time_factor, side, side))
        return Hooks(module, clip=module)
