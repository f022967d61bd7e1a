"""Local correlation over many clips, of a sample that does not depend on their order."""

from collections.abc import Sequence

import torch

from ssvae.regularizers import local_correlation
from ssvae.regularizers.local_correlation import LocalCorrelationResult, correlation_of_each

SAMPLE = 512  # clips; the measure standardises over all of its clips at once, so it keeps them


class CorrelationSample:
    """Accumulate the latents of the ``size`` clips of the smallest keys, and correlate them.

    With a checksum of the clip for a key that is a random sample, the same one in every order of
    the clips and for every division among processes.
    """

    def __init__(self, size: int = SAMPLE):
        self.size = size
        self._kept: list[tuple[int, torch.Tensor]] = []

    def update(self, latents: torch.Tensor, keys: Sequence[int]) -> "CorrelationSample":
        """Add latents (B, C, T, H, W), a key each."""
        rows = latents.detach().float().cpu()
        self._keep([(key, row.clone()) for key, row in zip(keys, rows, strict=True)])
        return self

    def merge(self, other: "CorrelationSample") -> "CorrelationSample":
        """Add all that another sample has kept."""
        self._keep(other._kept)
        return self

    def result(self, lone_first_frame: bool = True) -> LocalCorrelationResult:
        """The local correlation in windows of 2x2x2, one frame deep where there is but one."""
        return local_correlation(*self._windowed(lone_first_frame), lone_first_frame)

    def of_each(self, lone_first_frame: bool = True) -> torch.Tensor:
        """What each clip of the sample gives to that (n,), in the order of their keys."""
        return correlation_of_each(*self._windowed(lone_first_frame), lone_first_frame)

    def _windowed(self, lone_first_frame: bool) -> tuple[torch.Tensor, tuple[int, int, int]]:
        """The latents, and the window that they hold."""
        if not self._kept:
            raise ValueError("local correlation needs latents: call update before result")
        _, latents = self.kept
        depth = 1 if latents.shape[2] - lone_first_frame < 2 else 2
        return latents.squeeze(2), (depth, 2, 2)

    @property
    def kept(self) -> tuple[list[int], torch.Tensor]:
        """The keys of the sample, ascending, and its latents (n, C, T, H, W)."""
        return [key for key, _ in self._kept], torch.stack([row for _, row in self._kept])

    def _keep(self, more: list[tuple[int, torch.Tensor]]) -> None:
        self._kept = sorted([*self._kept, *more], key=lambda pair: pair[0])[: self.size]
