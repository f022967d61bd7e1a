"""Channel prefixes: decode whole clips from the first channels alone (DC-AE 1.5, arXiv 2508.00413)."""

from collections.abc import Sequence

import torch
from torch import nn

from ssvae.regularizers.checks import check_numbers


class ChannelPrefix(nn.Module):
    """Keep the first c' of C channels and zero the rest, in training only.

    Every prefix has to decode to the clip as well as it can, so that front channels come to hold what
    is coarse and later ones the details:  L = d(x, D(mask_c' z)), c' drawn.

    Args:
        shares: of the channels, one of which is drawn for each call; each in (0, 1].

    In eval mode the module is the identity.
    """

    def __init__(
        self, shares: Sequence[float] = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
    ):
        super().__init__()
        if not shares or any(not 0 < s <= 1 for s in shares):
            raise ValueError(f"shares must be in (0, 1], got {tuple(shares)}")
        self.shares = tuple(shares)
        self.register_buffer("_shares", torch.tensor(self.shares), persistent=False)

    def forward(
        self,
        z: torch.Tensor,
        generator: torch.Generator | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> torch.Tensor:
        """Latents (B, C, ...), of videos or images, to the same with zeros behind a drawn channel.

        ``generator`` draws; without it the global state of ``z``'s device does. Processes that share a
        batch give each the same generator; ``share`` is taken for the manners' sake, for one draw serves
        all.
        """
        if z.ndim < 2:
            raise ValueError(f"latents must be (batch, channels, ...), got {tuple(z.shape)}")
        check_numbers(z)
        if not self.training:
            return z
        device = z.device if generator is None else generator.device
        drawn = torch.randint(len(self.shares), (1,), generator=generator, device=device)
        # A tensor to the end, and no copy: the host does not wait for the device.
        shares = self.get_buffer("_shares").to(z.device)
        kept = (shares[drawn.to(z.device)] * z.shape[1]).round().clamp(min=1)
        seen = torch.arange(z.shape[1], device=z.device) < kept
        return z * seen.view(-1, *[1] * (z.ndim - 2))

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"shares={self.shares}"
