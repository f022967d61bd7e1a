# pyright: reportMissingImports=false, reportIndexIssue=false, reportInvalidTypeForm=false
"""The distance of two maps of features in one pass over a GPU's memory, by Triton.

Maps are channels last: p counts positions (n, h, w), c channels.
"""

from typing import Any

import torch
import triton
import triton.language as tl

ELEMENTS = 4096  # of a tile: as many as a program of eight warps holds in registers
TINY = tl.constexpr(1e-10)


@triton.jit
def _unit(x, p, c, within, C):
    """Vectors of a tile over their lengths; these."""
    values = tl.load(x + p.to(tl.int64)[:, None] * C + c[None], mask=within, other=0.0)
    values = values.to(tl.float32)
    length = tl.sqrt(tl.sum(values * values, 1))
    return values / (length + TINY)[:, None], length


@triton.jit
def _forward(a, b, weights, out, positions, C, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    p, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    within = (p < positions)[:, None] & (c < C)[None]
    w = tl.load(weights + c, mask=c < C, other=0.0).to(tl.float32)[None]
    u, _ = _unit(a, p, c, within, C)
    v, _ = _unit(b, p, c, within, C)
    tl.store(out + p, tl.sum((u - v) * (u - v) * w, 1), mask=p < positions)


@triton.jit
def _backward(
    grad, a, b, weights, of_a, positions, each, C, BLOCK: tl.constexpr, WIDTH: tl.constexpr
):
    p, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    within = (p < positions)[:, None] & (c < C)[None]
    w = tl.load(weights + c, mask=c < C, other=0.0).to(tl.float32)[None]
    of_image = tl.load(grad + p // each, mask=p < positions, other=0.0).to(tl.float32) / each
    u, length = _unit(a, p, c, within, C)
    v, _ = _unit(b, p, c, within, C)
    g = 2 * w * (u - v) * of_image[:, None]
    # u is a / (|a| + TINY), and a / |a| so much longer.
    longer = (length + TINY) / tl.maximum(length, TINY)
    g = (g - u * (tl.sum(g * u, 1) * longer)[:, None]) / (length + TINY)[:, None]
    where = of_a + p.to(tl.int64)[:, None] * C + c[None]
    tl.store(where, g.to(of_a.dtype.element_ty), mask=within)


def distance(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) twice, and (C,), to (N, H, W): see :mod:`ssvae.losses.distance`."""
    out = a.new_empty(a.shape[0], *a.shape[2:], dtype=torch.float32)
    programs, tile = _tiles(a)
    _forward[(programs,)](a, b, weights, out, out.numel(), a.shape[1], **tile)
    return out


def distance_backward(
    grad: torch.Tensor, a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """The gradient at ``a`` of the mean over positions, whose gradient is (N,)."""
    of_a, (programs, tile) = torch.empty_like(a), _tiles(a)
    each = a.shape[2] * a.shape[3]
    _backward[(programs,)](
        grad.contiguous(), a, b, weights, of_a, len(a) * each, each, a.shape[1], **tile
    )
    return of_a


def _tiles(a: torch.Tensor) -> tuple[int, dict[str, Any]]:
    """How many programs there are, each with some positions and all of their channels."""
    width = triton.next_power_of_2(a.shape[1])
    block = max(1, ELEMENTS // width)
    positions = a.numel() // a.shape[1]
    return triton.cdiv(positions, block), dict(BLOCK=block, WIDTH=width, num_warps=8)
