"""What regularisers draw: for each sample of a batch that processes may share, and for blocks of it."""

import math
from collections.abc import Callable, Sequence

import torch


def drawn_for_each(
    sampler: Callable[..., torch.Tensor],
    shape: Sequence[int],
    device: torch.device,
    generator: torch.Generator | None,
    share: tuple[int, int],
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """A draw of ``torch.rand`` or ``torch.randn`` for each sample, (B, ...) = ``shape``.

    It is drawn where the generator is, ``device`` without one, and stays there. Where processes share a batch,
    each draws for the whole and keeps its own ``share`` (process, processes), so that draws are those of
    one process, if all have the same generator.
    """
    (process, processes), (B, *rest) = share, shape
    device = device if generator is None else generator.device
    whole = sampler((B * processes, *rest), generator=generator, device=device, dtype=dtype)
    return whole[process * B : (process + 1) * B]


def rows_of_blocks(size: tuple[int, int, int], block: tuple[int, int, int]) -> tuple[int, int, int]:
    """Blocks in time, height and width of (T, H, W); the first frame is a row of its own."""
    (T, H, W), (t, h, w) = size, block
    return 1 + math.ceil((T - 1) / t), math.ceil(H / h), math.ceil(W / w)


def random_blocks(
    counts: torch.Tensor,
    batch: int,
    size: tuple[int, int, int],
    block: tuple[int, int, int],
    generator: torch.Generator | None,
    share: tuple[int, int],
) -> torch.Tensor:
    """Masks (B, 1, T, H, W) of ``counts`` blocks, one number or one a sample (B, 1), drawn for each sample.

    Blocks at the edges may be partial. They are where the counts are.
    """
    rows = rows_of_blocks(size, block)
    drawn = drawn_for_each(torch.rand, (batch, math.prod(rows)), counts.device, generator, share)
    mask = (drawn.argsort(1).argsort(1) < counts).view(batch, 1, *rows)
    (t, h, w), places = block, [torch.arange(n, device=mask.device) for n in size]
    mask = mask.index_select(2, torch.div(places[0] + t - 1, t, rounding_mode="floor"))
    return mask.index_select(3, places[1] // h).index_select(4, places[2] // w)
