# pyright: reportMissingImports=false, reportIndexIssue=false, reportInvalidTypeForm=false
"""RMSNorm and SiLU in one pass over a GPU's memory, and their backward pass, by Triton.

Written as separate operators they are eight passes forward and sixteen backward, and on a GPU the
autoencoder waits for memory. Tensors are channels last: p counts positions (b, t, h, w), c
channels.
"""

from typing import Any

import torch
import triton
import triton.language as tl

ELEMENTS = 4096  # of a tile: as many as a program of eight warps holds in registers
PROGRAMS = 8  # of the backward pass for each multiprocessor, each with sums of its own
TINY = tl.constexpr(1e-12)


@triton.jit
def _normalised(x, bias, p, c, within, positions, C, scale, HAS_BIAS: tl.constexpr):
    """Values of a tile with the bias, times what brings each position to length ``scale``; that."""
    h = tl.load(x + p.to(tl.int64)[:, None] * C + c[None], mask=within, other=0.0).to(tl.float32)
    if HAS_BIAS:
        h += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None]
    factor = scale / tl.maximum(tl.sqrt(tl.sum(h * h, 1)), TINY)
    return h * factor[:, None], factor


@triton.jit
def _place(p, T, H, W, of_b, of_t, of_h, of_w, repeats):
    """Where a position lies in a strided tensor with ``repeats`` frames in front, and its frame."""
    w, row = p % W, p // W
    h, row = row % H, row // H
    t, b = row % T, row // T
    at = b.to(tl.int64) * of_b + (t + repeats).to(tl.int64) * of_t + h.to(tl.int64) * of_h
    return at + w.to(tl.int64) * of_w, t


@triton.jit
def _forward(
    x,
    bias,
    gamma,
    out,
    positions,
    C,
    T,
    H,
    W,
    of_b,
    of_t,
    of_h,
    of_w,
    scale,
    HAS_BIAS: tl.constexpr,
    REPEATS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    p, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    within = (p < positions)[:, None] & (c < C)[None]
    n, _ = _normalised(x, bias, p, c, within, positions, C, scale, HAS_BIAS)
    a = n * tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)[None]
    y = (a * tl.sigmoid(a)).to(out.dtype.element_ty)
    at, t = _place(p, T, H, W, of_b, of_t, of_h, of_w, REPEATS)
    tl.store(out + at[:, None] + c[None], y, mask=within)
    for i in tl.static_range(REPEATS):
        before = at - (i + 1) * of_t
        tl.store(out + before[:, None] + c[None], y, mask=within & (t == 0)[:, None])


@triton.jit
def _backward(
    grad,
    x,
    bias,
    gamma,
    of_x,
    sums,
    positions,
    C,
    T,
    H,
    W,
    of_b,
    of_t,
    of_h,
    of_w,
    scale,
    HAS_BIAS: tl.constexpr,
    REPEATS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    program, programs, c = tl.program_id(0), tl.num_programs(0), tl.arange(0, WIDTH)
    gains = tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)[None]
    of_gamma, of_bias = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    for block in range(program, tl.cdiv(positions, BLOCK), programs):
        p = block * BLOCK + tl.arange(0, BLOCK)
        within = (p < positions)[:, None] & (c < C)[None]
        n, factor = _normalised(x, bias, p, c, within, positions, C, scale, HAS_BIAS)
        at, t = _place(p, T, H, W, of_b, of_t, of_h, of_w, REPEATS)
        g = tl.load(grad + at[:, None] + c[None], mask=within, other=0.0).to(tl.float32)
        for i in tl.static_range(REPEATS):
            before, first = at - (i + 1) * of_t, within & (t == 0)[:, None]
            g += tl.load(grad + before[:, None] + c[None], mask=first, other=0.0).to(tl.float32)
        a = n * gains
        s = tl.sigmoid(a)
        g = g * s * (1 + a * (1 - s))  # through SiLU
        of_gamma += tl.sum(g * n, 0)
        g = g * gains
        # The part along n is lost, whose length is sqrt(C).
        g = factor[:, None] * (g - n * (tl.sum(g * n, 1) / C)[:, None])
        of_bias += tl.sum(g, 0)
        where = of_x + p.to(tl.int64)[:, None] * C + c[None]
        tl.store(where, g.to(of_x.dtype.element_ty), mask=within)
    row = sums + program * 2 * C + c
    tl.store(row, of_gamma, mask=c < C)
    tl.store(row + C, of_bias, mask=c < C)


@triton.jit
def _add(h, bias, shortcut, out, count, C, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = i < count
    y = tl.load(h + i, mask=within).to(tl.float32)
    y += tl.load(bias + i % C, mask=within).to(tl.float32)
    y += tl.load(shortcut + i, mask=within).to(tl.float32)
    tl.store(out + i, y.to(out.dtype.element_ty), mask=within)


@triton.jit
def _activate(y, bias, count, C, slope, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = i < count
    value = tl.load(y + i, mask=within).to(tl.float32)
    value += tl.load(bias + i % C, mask=within).to(tl.float32)
    value = tl.where(value > 0, value, value * slope)
    tl.store(y + i, value.to(y.dtype.element_ty), mask=within)


@triton.jit
def _sum(weight, out, count, each, BLOCK: tl.constexpr, TAPS: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = i < count
    start = weight + i // each * each * TAPS + i % each
    total = tl.load(start, mask=within).to(tl.float32)
    for tap in tl.static_range(1, TAPS):
        total += tl.load(start + tap * each, mask=within).to(tl.float32)
    tl.store(out + i, total.to(out.dtype.element_ty), mask=within)


def norm_silu(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    gamma: torch.Tensor,
    repeats: int,
    *,
    out: torch.Tensor,
) -> None:
    """The operator's forward pass: see :mod:`ssvae.models.norm`."""
    positions, tile = _tiles(x)
    _forward[(triton.cdiv(positions, tile["BLOCK"]),)](
        x, gamma if bias is None else bias, gamma, out, *_sizes(x, out, repeats, bias), **tile
    )


def norm_silu_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None,
    gamma: torch.Tensor,
    repeats: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The operator's backward pass: see :mod:`ssvae.models.norm`."""
    positions, tile = _tiles(x)
    of_x = torch.empty_like(x)
    cores = torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1
    programs = min(triton.cdiv(positions, tile["BLOCK"]), PROGRAMS * cores)
    sums = x.new_empty(programs, 2, x.shape[1], dtype=torch.float32)
    _backward[(programs,)](
        *(grad, x, gamma if bias is None else bias, gamma, of_x, sums),
        *_sizes(x, grad, repeats, bias),
        **tile,
    )
    return of_x, sums.sum(0)


def add_biased(h: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
    """The operator: see :mod:`ssvae.models.norm`."""
    out = torch.empty_like(h)
    _add_into(out, h, bias, shortcut)
    return out


def add_biased_(h: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor) -> None:
    """The same in place."""
    _add_into(h, h, bias, shortcut)


def _add_into(
    out: torch.Tensor, h: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor
) -> None:
    count, programs = h.numel(), triton.cdiv(h.numel(), ELEMENTS)
    _add[(programs,)](h, bias, shortcut, out, count, h.shape[1], BLOCK=ELEMENTS)


def activated_(y: torch.Tensor, bias: torch.Tensor, slope: float) -> None:
    """The operator: see :mod:`ssvae.models.activation`."""
    count, programs = y.numel(), triton.cdiv(y.numel(), ELEMENTS)
    _activate[(programs,)](y, bias, count, y.shape[1], slope, BLOCK=ELEMENTS)


def summed_taps(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The operator: see :func:`ssvae.models.blocks.summed_over_time`."""
    out = weight.new_empty(weight.shape[0], *weight.shape[2:], dtype=dtype)
    count, each, programs = out.numel(), out[0].numel(), triton.cdiv(out.numel(), ELEMENTS)
    _sum[(programs,)](weight, out, count, each, BLOCK=ELEMENTS, TAPS=weight.shape[1])
    return out


def _tiles(x: torch.Tensor) -> tuple[int, dict[str, Any]]:
    """How many positions there are, and how many of them a program takes, with all channels."""
    width = triton.next_power_of_2(x.shape[1])
    return x.numel() // x.shape[1], dict(BLOCK=max(1, ELEMENTS // width), WIDTH=width, num_warps=8)


def _sizes(
    x: torch.Tensor, frames: torch.Tensor, repeats: int, bias: torch.Tensor | None
) -> tuple[Any, ...]:
    """What both kernels take of x and of the tensor with frames in front."""
    C, *sides = x.shape[1:]
    positions, (of_b, _, *strides) = x.numel() // C, frames.stride()
    return positions, C, *sides, of_b, *strides, C**0.5, bias is not None, repeats
