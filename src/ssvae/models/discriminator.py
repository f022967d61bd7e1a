"""Patch discriminators that tell clips from reconstructions: of frames, and of clips.

PatchGAN (arXiv 1611.07004) with spectral normalisation (arXiv 1802.05957) of every layer but the
last, one score for each patch. Shape legend: B clips, T frames, H, W pixels.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ssvae.data.pixels import as_seen

SLOPE = 0.2


class FrameDiscriminator(nn.Module):
    """Scores patches of single frames: (B, 3, T, H, W) to (B, T, h, w)."""

    def __init__(self, channels: int = 64, halvings: int = 4):
        super().__init__()
        widths = [3, *(channels * min(2**i, 8) for i in range(halvings + 1))]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2 if i < halvings else 1, padding=1))
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.score = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips to scores."""
        B, _, T = x.shape[:3]
        x = x.transpose(1, 2).flatten(0, 1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
        return self.score(x).squeeze(1).unflatten(0, (B, T))


class ClipDiscriminator(nn.Module):
    """Scores patches of space and time: (B, 3, T, H, W) to (B, t, h, w).

    Causal in time as the autoencoder is: the first frame is repeated in front, so images pass too.
    The first ``time_halvings`` of its ``halvings`` halve time beside space.
    """

    def __init__(self, channels: int = 64, halvings: int = 4, time_halvings: int = 2):
        super().__init__()
        widths = [3, *(channels * min(2**i, 8) for i in range(halvings + 1))]
        self.layers = nn.ModuleList()
        for i, (a, b) in enumerate(pairwise(widths)):
            space, time = (2 if i < halvings else 1), (2 if i < time_halvings else 1)
            conv = nn.Conv3d(a, b, 3, stride=(time, space, space), padding=(0, 1, 1))
            self.layers.append(spectral_norm(conv))
        self.score = nn.Conv3d(widths[-1], 1, 3, padding=(0, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Clips to scores."""
        for layer in self.layers:
            x = F.leaky_relu(layer(_causal(x)), SLOPE)
        return self.score(_causal(x)).squeeze(1)


def _causal(x: torch.Tensor) -> torch.Tensor:
    first = x[:, :, :1]
    return torch.cat([first, first, x], 2)


class Discriminator(nn.Module):
    """Both, side by side: clips (B, C, T, H, W) to a list of scores of what is seen of them, in
    order.
    """

    def __init__(self, channels: int = 64, halvings: int = 4, time_halvings: int = 2):
        super().__init__()
        self.frames = FrameDiscriminator(channels, halvings)
        self.clips = ClipDiscriminator(channels, halvings, time_halvings)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The scores of frames and of clips."""
        x = as_seen(x)
        return [self.frames(x), self.clips(x)]

    @staticmethod
    def smallest_side(halvings: int) -> int:
        """The shortest side that leaves a patch to score."""
        return 3 * 2**halvings
