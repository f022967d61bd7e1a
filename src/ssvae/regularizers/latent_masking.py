"""Latent masked reconstruction (LMR): decode whole clips from latents with parts masked out.

It pushes variance into few channel modes and makes the decoder robust (arXiv 2512.05394, LMR).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.draws import Draws, rows_of_blocks
from ssvae.regularizers.registry import Hooks, LatentSpec, RegularizerConfig
from ssvae.transfer import constant

__all__ = ["LMRConfig", "LatentMasking"]


class LatentMasking(nn.Module):
    """Replace a random share of latent blocks by one learned token, in training only.

    Each call draws one ratio, each sample its own mask of round(ratio * blocks) blocks. The first
    latent frame is a row of blocks of its own, as fits a causal VAE; blocks at the edges may be
    partial. In eval mode the module is the identity.

    Args:
        channels: latent channels C.
        ratios: shares of blocks to mask, each in [0, 1].
        probabilities: how often each ratio is drawn; their sum is 1.
        block: block size in latent frames, rows and columns.

    ``token`` is the learned parameter, (1, C, 1, 1, 1), drawn from N(0, 1). It takes part in every
    call, so that its gradient exists at ratio 0 too and distributed training never waits for it.
    """

    def __init__(
        self,
        channels: int,
        ratios: Sequence[float] = (0.0, 0.25, 0.5, 0.75),
        probabilities: Sequence[float] = (0.7, 0.1, 0.1, 0.1),
        block: Sequence[int] = (1, 1, 1),
    ):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        if not ratios or len(ratios) != len(probabilities):
            raise ValueError(
                f"each ratio needs a probability, got {len(ratios)} ratios and "
                f"{len(probabilities)} probabilities"
            )
        if any(not 0 <= r <= 1 for r in ratios):
            raise ValueError(f"ratios must be in [0, 1], got {tuple(ratios)}")
        if any(p < 0 for p in probabilities) or not math.isclose(
            sum(probabilities), 1, abs_tol=1e-6
        ):
            raise ValueError(
                f"probabilities must be at least 0 and sum to 1, got {tuple(probabilities)}"
            )
        if len(block) != 3 or min(block) < 1:
            raise ValueError(
                f"a block must be (time, height, width), each >= 1, got {tuple(block)}"
            )
        self.ratios = tuple(ratios)
        self.probabilities = tuple(probabilities)
        t, h, w = block
        self.block = t, h, w
        self.token = nn.Parameter(torch.randn(1, channels, 1, 1, 1))

    def forward(
        self, z: torch.Tensor, generator: torch.Generator | Draws | None = None
    ) -> torch.Tensor:
        """Latents (B, C, T, H, W), or (B, C, H, W) for images, to the same with blocks masked.

        ``generator`` draws ratio and masks, or :class:`Draws` where processes share a batch;
        without it the global state of ``z``'s device does.
        """
        if z.ndim not in (4, 5) or z.shape[1] != self.token.shape[1]:
            raise ValueError(
                f"latents must be (batch, {self.token.shape[1]}, [frames,] height, width), "
                f"got {tuple(z.shape)}"
            )
        check_numbers(z)
        if not self.training:
            return z
        video = z.unsqueeze(2) if z.ndim == 4 else z
        draws = Draws.of(generator)
        device, size = draws.device(z), (video.shape[2], video.shape[3], video.shape[4])
        blocks = math.prod(rows_of_blocks(size, self.block))
        # Counts stay tensors: reading the drawn ratio would make the host wait for the device.
        edges, counts = _tables(self.probabilities, self.ratios, blocks, device)
        drawn = torch.rand(1, generator=draws.generator, device=device)
        counts = counts[torch.searchsorted(edges, drawn)]
        mask = draws.blocks(counts, video, self.block).to(z.device)
        return torch.where(mask, self.token.to(z.dtype), video).view_as(z)

    def save(self, path: str | Path, token: torch.Tensor | None = None) -> None:
        """Write the token, with the settings beside it, as safetensors.

        ``token`` stands for the module's own where that is divided among processes.
        """
        settings = dict(ratios=self.ratios, probabilities=self.probabilities, block=self.block)
        token = (self.token if token is None else token).detach().contiguous()
        # In one entry: safetensors writes several in an order that changes from run to run.
        save_file({"token": token}, path, {"settings": json.dumps(settings)})

    @classmethod
    def load(cls, path: str | Path) -> "LatentMasking":
        """Read what :meth:`save` wrote; in eval mode."""
        try:
            with safe_open(str(path), "pt") as file:
                token = file.get_tensor("token")
                settings = json.loads((file.metadata() or {}).get("settings", "{}"))
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} holds no masking: {error}") from error
        masking = cls(token.shape[1], **settings)
        masking.token = nn.Parameter(token)
        return masking.eval()

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"ratios={self.ratios}, probabilities={self.probabilities}, block={self.block}"


@lru_cache(maxsize=64)
def _tables(
    probabilities: tuple[float, ...], ratios: tuple[float, ...], blocks: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where one ratio's draw ends and the next begins, and the blocks that each masks.

    Kept on the device, for a copy in every step would make the host wait.
    """
    edges = constant(list(accumulate(probabilities))[:-1], device, torch.float32)
    return edges, constant([round(ratio * blocks) for ratio in ratios], device)


@dataclass(frozen=True, kw_only=True)
class LMRConfig(RegularizerConfig):
    """Latent masked reconstruction (arXiv 2512.05394)."""

    NAME, TITLE, PAPER = "lmr", "LMR", "2512.05394"
    SUMMARY = "decodes whole clips from latents with blocks replaced by a learned token"
    ORDER = 2  # the token stands last

    ratios: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    """Shares of latent blocks to mask."""
    probabilities: tuple[float, ...] = (0.7, 0.1, 0.1, 0.1)
    """How often each ratio is drawn."""
    block: tuple[int, int, int] = (1, 1, 1)
    """Block in latent frames, rows and columns."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Latents with blocks masked."""
        module = LatentMasking(latents.channels, self.ratios, self.probabilities, self.block)
        return Hooks(module, latents=module)
