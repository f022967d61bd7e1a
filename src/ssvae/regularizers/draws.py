"""Random numbers of a training step, which do not depend on how processes divide its batch."""

import math
from collections.abc import Callable, Sequence

import torch

__all__ = ["Draws"]


class Draws:
    """Where a step's random numbers come from.

    Processes that share a batch each give the same generators, and draw what one process with the
    whole batch would.

    Args:
        generator: draws; without one the global state of the device that asks.
        process: this process, counted from 0.
        processes: how many share the batch, each with as many samples.
        host: draws sizes, which the host needs; a generator of the CPU, so that the host does not
            wait for a device. ``generator`` where left out.
    """

    def __init__(
        self,
        generator: torch.Generator | None = None,
        process: int = 0,
        processes: int = 1,
        host: torch.Generator | None = None,
    ):
        if not isinstance(generator, torch.Generator | None):
            found = type(generator).__name__
            raise ValueError(f"generator must be a torch.Generator, Draws or None, got {found}")
        if not 0 <= process < processes:
            raise ValueError(
                f"process must be at least 0 and below processes, got {process} of {processes}"
            )
        self.generator, self.process, self.processes = generator, process, processes
        self.host = generator if host is None else host

    @classmethod
    def of(cls, source: "torch.Generator | Draws | None") -> "Draws":
        """Draws as they are, or those of one process with this generator."""
        return source if isinstance(source, Draws) else cls(source)

    @property
    def host_device(self) -> torch.device:
        """Where sizes are drawn."""
        return torch.device("cpu") if self.host is None else self.host.device

    def device(self, x: torch.Tensor) -> torch.device:
        """Where draws for ``x`` are made: the generator's device, or that of ``x`` without one."""
        return x.device if self.generator is None else self.generator.device

    def rand(self, shape: Sequence[int], x: torch.Tensor) -> torch.Tensor:
        """Uniform numbers (B, ...) for each sample of ``x``, on :meth:`device`."""
        return self._for_each(torch.rand, shape, x, None)

    def randn(
        self, shape: Sequence[int], x: torch.Tensor, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Normal numbers (B, ...) for each sample of ``x``, on :meth:`device`."""
        return self._for_each(torch.randn, shape, x, dtype)

    def blocks(
        self,
        counts: torch.Tensor,
        x_BCTHW: torch.Tensor,
        block: tuple[int, int, int],
    ) -> torch.Tensor:
        """Masks (B, 1, T, H, W) of ``counts`` blocks for each sample, where the counts are.

        ``counts`` is one number or one a sample (B, 1). Blocks at the edges may be partial.
        """
        B, _, T, H, W = x_BCTHW.shape
        rows = rows_of_blocks((T, H, W), block)
        drawn = self.rand((B, math.prod(rows)), x_BCTHW).to(counts.device)
        mask = (drawn.argsort(1).argsort(1) < counts).view(B, 1, *rows)
        (t, h, w), places = block, [torch.arange(n, device=mask.device) for n in (T, H, W)]
        mask = mask.index_select(2, torch.div(places[0] + t - 1, t, rounding_mode="floor"))
        return mask.index_select(3, places[1] // h).index_select(4, places[2] // w)

    def _for_each(
        self,
        sampler: Callable[..., torch.Tensor],
        shape: Sequence[int],
        x: torch.Tensor,
        dtype: torch.dtype | None,
    ) -> torch.Tensor:
        """Drawn for the whole batch, of which this process keeps its own."""
        B, *rest = shape
        whole = (B * self.processes, *rest)
        drawn = sampler(whole, generator=self.generator, device=self.device(x), dtype=dtype)
        return drawn[self.process * B : (self.process + 1) * B]


def rows_of_blocks(size: tuple[int, int, int], block: tuple[int, int, int]) -> tuple[int, int, int]:
    """Blocks in time, height and width of (T, H, W); the first frame is a row of its own."""
    (T, H, W), (t, h, w) = size, block
    return 1 + math.ceil((T - 1) / t), math.ceil(H / h), math.ceil(W / w)
