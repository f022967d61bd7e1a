"""REPA: tokens of an early block, through a small network, are pulled towards a teacher's features
of the clean clip (arXiv 2410.06940).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Repa(nn.Module):
    """The network between a block's tokens and a teacher's features, and how unlike they are.

    Three linear layers with SiLU between them, as published; it is no part of the model that
    samples.
    """

    def __init__(self, block: nn.Module, width: int, features: int, patch: tuple[int, int, int]):
        super().__init__()
        hidden = 4 * width
        self.projector = nn.Sequential(
            nn.Linear(width, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, features),
        )
        self.patch = patch
        self._tokens: list[torch.Tensor] = []
        block.register_forward_hook(self._listen)

    def _listen(self, block: nn.Module, inputs: Any, tokens: Any) -> None:
        self._tokens[:] = [tokens]

    def forward(self, features_BDthw: torch.Tensor) -> torch.Tensor:
        """One less the cosine with the features of each token's latents, a mean over tokens, of
        each clip (B,). The tokens are those of the last forward pass, and are let go.
        """
        tokens = self._tokens.pop()
        target = F.avg_pool3d(features_BDthw.float(), self.patch).flatten(2).transpose(1, 2)
        return (1 - F.cosine_similarity(self.projector(tokens).float(), target, dim=-1)).mean(1)
