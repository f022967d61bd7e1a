"""Input masking: reconstruct whole clips of which the encoder sees a part (l-DeTok, arXiv 2507.15856)."""

import math
from collections.abc import Sequence

import torch
from torch import nn


class InputMasking(nn.Module):
    """Grey out a random share of a clip's patches before it is encoded, in training only.

    Each sample draws its share from U(-0.1, max_ratio), where less than 0 is 0, and a mask of its own.
    The first frame is a row of patches of its own, as a causal VAE's first latent stands for one frame.
    (The paper's transformer leaves masked patches out; to a convolution they are the grey, 0.)

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
        self.max_ratio, self.patch = max_ratio, tuple(patch)

    def forward(
        self,
        clips: torch.Tensor,
        generator: torch.Generator | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> torch.Tensor:
        """Clips (B, 3, T, H, W), or images (B, 3, H, W), to the same with patches at 0.

        ``generator`` draws; without it the global state of the clips' device does. Where processes share
        a batch, give ``share`` (process, processes) and each the same generator: masks are those of one
        process with the whole batch.
        """
        if clips.ndim not in (4, 5):
            raise ValueError(
                f"clips must be (batch, 3, [frames,] height, width), got {tuple(clips.shape)}"
            )
        if not self.training:
            return clips
        video = clips.unsqueeze(2) if clips.ndim == 4 else clips
        (process, processes), (B, _, T, H, W) = share, video.shape
        t, h, w = self.patch
        rows = 1 + math.ceil((T - 1) / t), math.ceil(H / h), math.ceil(W / w)
        device = clips.device if generator is None else generator.device
        own = slice(process * B, (process + 1) * B)

        width = self.max_ratio - self.LOWEST
        ratios = torch.rand(B * processes, 1, generator=generator, device=device)[own]
        counts = ((self.LOWEST + width * ratios).clamp(min=0) * math.prod(rows)).round()
        drawn = torch.rand(B * processes, math.prod(rows), generator=generator, device=device)[own]
        seen = (drawn.argsort(1).argsort(1) >= counts).view(B, 1, *rows).to(clips.device)

        time, height, columns = (torch.arange(n, device=clips.device) for n in (T, H, W))
        seen = seen.index_select(2, torch.div(time + t - 1, t, rounding_mode="floor"))
        seen = seen.index_select(3, height // h).index_select(4, columns // w)
        return (video * seen).view_as(clips)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"max_ratio={self.max_ratio}, patch={self.patch}"
