"""Channel prefixes: decode whole clips from the first channels alone (DC-AE 1.5, arXiv
2508.00413).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.registry import Hooks, LatentSpec, RegularizerConfig

__all__ = ["ChannelPrefix", "ChannelPrefixConfig"]

EIGHTHS = tuple(n / 8 for n in range(1, 9))


class ChannelPrefix(nn.Module):
    """Keep the first c' of C channels and zero the rest, in training only.

    Every prefix has to decode to the clip as well as it can, so that front channels come to hold
    what is coarse and later ones the details:  L = d(x, D(mask_c' z)), c' drawn.

    Args:
        shares: of the channels, one of which is drawn for each call; each in (0, 1].

    In eval mode the module is the identity.
    """

    def __init__(self, shares: Sequence[float] = EIGHTHS):
        super().__init__()
        if not shares or any(not 0 < s <= 1 for s in shares):
            raise ValueError(f"shares must be in (0, 1], got {tuple(shares)}")
        self.shares = tuple(shares)
        self.register_buffer("_shares", torch.tensor(self.shares), persistent=False)

    def forward(
        self, z: torch.Tensor, generator: torch.Generator | Draws | None = None
    ) -> torch.Tensor:
        """Latents (B, C, ...), of videos or images, to the same with zeros behind a drawn channel.

        ``generator`` draws, once for the whole batch, or :class:`Draws` where processes share one;
        without it the global state of ``z``'s device does.
        """
        if z.ndim < 2:
            raise ValueError(f"latents must be (batch, channels, ...), got {tuple(z.shape)}")
        check_numbers(z)
        if not self.training:
            return z
        draws = Draws.of(generator)
        drawn = torch.randint(
            len(self.shares), (1,), generator=draws.generator, device=draws.device(z)
        )
        # A tensor to the end, and no copy: the host does not wait for the device.
        shares = self.get_buffer("_shares").to(z.device)
        kept = (shares[drawn.to(z.device)] * z.shape[1]).round().clamp(min=1)
        is_kept = torch.arange(z.shape[1], device=z.device) < kept
        return z * is_kept.view(-1, *[1] * (z.ndim - 2))

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"shares={self.shares}"


@dataclass(frozen=True, kw_only=True)
class ChannelPrefixConfig(RegularizerConfig):
    """Front channels alone (DC-AE 1.5, arXiv 2508.00413); the shares are ours."""

    NAME, TITLE, PAPER = "channel_prefix", "channel prefixes (DC-AE 1.5)", "2508.00413"
    SUMMARY = "decodes whole clips from the first channels alone, as many as are drawn"
    ORDER = 1

    shares: tuple[float, ...] = EIGHTHS
    """Shares of the channels, one drawn a step."""

    def hooks(self, latents: LatentSpec) -> Hooks:
        """Latents without their last channels."""
        module = ChannelPrefix(self.shares)
        return Hooks(module, latents=module)
