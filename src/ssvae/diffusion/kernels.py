# pyright: reportMissingImports=false, reportIndexIssue=false, reportInvalidTypeForm=false
"""What stands between the products of a transformer's block, each in one pass over a GPU's memory.

By Triton. Tokens are (B, N, D): r counts rows (b, n), c columns.
"""

from typing import Any

import torch
import triton
import triton.language as tl

ELEMENTS = 4096  # of a tile: as many as a program of eight warps holds in registers
COLUMNS = 1024  # of a tile, where columns are apart
PROGRAMS = 8  # of the backward passes for each multiprocessor, each with sums of its own
ROOT = tl.constexpr(2 * 0.7978845608028654)  # 2 sqrt(2 / pi)
CUBE, CUBE_SLOPE = tl.constexpr(0.044715), tl.constexpr(3 * 0.044715)


@triton.jit
def _standardised(h, c, D, eps):
    """Rows of mean 0 and variance 1, and over what they were divided."""
    d = tl.where(c[None] < D, h - (tl.sum(h, 1) / D)[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(d * d, 1) / D + eps)
    return d * scale[:, None], scale


@triton.jit
def _residual_norm(
    x,
    y,
    bias,
    gate,
    gain,
    shift,
    out,
    normed,
    rows,
    N,
    D,
    of_gate,
    of_gain,
    of_shift,
    eps,
    HAS_Y: tl.constexpr,
    HAS_GATE: tl.constexpr,
    HAS_NORM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    r, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    within, b = (r < rows)[:, None] & (c < D)[None], (r // N)[:, None]
    at = r.to(tl.int64)[:, None] * D + c[None]
    h = tl.load(x + at, mask=within, other=0.0).to(tl.float32)
    if HAS_Y:
        more = tl.load(y + at, mask=within, other=0.0).to(tl.float32)
        more += tl.load(bias + c, mask=c < D, other=0.0).to(tl.float32)[None]
        if HAS_GATE:
            more *= tl.load(gate + b * of_gate + c[None], mask=within, other=0.0).to(tl.float32)
        rounded = (h + more).to(out.dtype.element_ty)
        tl.store(out + at, rounded, mask=within)
        h = rounded.to(tl.float32)
    if HAS_NORM:
        h, _ = _standardised(h, c, D, eps)
        h *= tl.load(gain + b * of_gain + c[None], mask=within, other=0.0).to(tl.float32)
        h += tl.load(shift + b * of_shift + c[None], mask=within, other=0.0).to(tl.float32)
        tl.store(normed + at, h.to(normed.dtype.element_ty), mask=within)


@triton.jit
def _residual_norm_backward(
    of_out,
    of_normed,
    out,
    y,
    gate,
    gain,
    of_x,
    of_y,
    sums,
    N,
    D,
    of_gate,
    of_gain,
    eps,
    HAS_Y: tl.constexpr,
    HAS_GATE: tl.constexpr,
    HAS_NORM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    b, program, programs = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    c = tl.arange(0, WIDTH)
    of_gain_sum, of_shift_sum = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    of_gate_sum, of_x_sum = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    for block in range(program, tl.cdiv(N, BLOCK), programs):
        n = block * BLOCK + tl.arange(0, BLOCK)
        within = (n < N)[:, None] & (c < D)[None]
        at = (b * N + n).to(tl.int64)[:, None] * D + c[None]
        g = tl.load(of_out + at, mask=within, other=0.0).to(tl.float32)
        if HAS_NORM:
            h = tl.load(out + at, mask=within, other=0.0).to(tl.float32)
            h, scale = _standardised(h, c, D, eps)
            dn = tl.load(of_normed + at, mask=within, other=0.0).to(tl.float32)
            of_gain_sum += tl.sum(dn * h, 0)
            of_shift_sum += tl.sum(dn, 0)
            dn *= tl.load(gain + b * of_gain + c, mask=c < D, other=0.0).to(tl.float32)[None]
            mean, along = tl.sum(dn, 1) / D, tl.sum(dn * h, 1) / D
            dn = scale[:, None] * (dn - mean[:, None] - h * along[:, None])
            g += tl.where(within, dn, 0.0)
            tl.store(of_x + at, g.to(of_x.dtype.element_ty), mask=within)
        if HAS_Y:
            of_x_sum += tl.sum(g, 0)
            if HAS_GATE:
                value = tl.load(y + at, mask=within, other=0.0).to(tl.float32)
                of_gate_sum += tl.sum(g * value, 0)
                g *= tl.load(gate + b * of_gate + c, mask=c < D, other=0.0).to(tl.float32)[None]
                tl.store(of_y + at, g.to(of_y.dtype.element_ty), mask=within)
    row = sums + (b * programs + program).to(tl.int64) * 4 * D + c
    tl.store(row, of_gain_sum, mask=c < D)
    tl.store(row + D, of_shift_sum, mask=c < D)
    tl.store(row + 2 * D, of_gate_sum, mask=c < D)
    tl.store(row + 3 * D, of_x_sum, mask=c < D)


@triton.jit
def _pairs(x, bias, r, c, within, D, of_row, eps, WIDTH: tl.constexpr):
    """Even and odd columns of rows with their bias, of mean square 1, and the factor."""
    at = r.to(tl.int64)[:, None] * of_row + 2 * c[None]
    a = tl.load(x + at, mask=within, other=0.0).to(tl.float32)
    b = tl.load(x + at + 1, mask=within, other=0.0).to(tl.float32)
    a += tl.load(bias + 2 * c, mask=2 * c < D, other=0.0).to(tl.float32)[None]
    b += tl.load(bias + 2 * c + 1, mask=2 * c < D, other=0.0).to(tl.float32)[None]
    scale = 1 / tl.sqrt(tl.sum(a * a + b * b, 1) / D + eps)
    return a * scale[:, None], b * scale[:, None], scale


@triton.jit
def _turn(
    x,
    bias,
    weight,
    cosines,
    sines,
    out,
    rows,
    N,
    D,
    of_row,
    pairs,
    eps,
    TURNS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    r, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    within = (r < rows)[:, None] & (2 * c < D)[None]
    a, b, _ = _pairs(x, bias, r, c, within, D, of_row, eps, WIDTH)
    a *= tl.load(weight + 2 * c, mask=2 * c < D, other=0.0).to(tl.float32)[None]
    b *= tl.load(weight + 2 * c + 1, mask=2 * c < D, other=0.0).to(tl.float32)[None]
    if TURNS:
        place = (r % N)[:, None] * pairs + (c % pairs)[None]
        cos = tl.load(cosines + place, mask=within, other=0.0)
        sin = tl.load(sines + place, mask=within, other=0.0)
        a, b = a * cos - b * sin, a * sin + b * cos
    at = r.to(tl.int64)[:, None] * D + 2 * c[None]
    tl.store(out + at, a.to(out.dtype.element_ty), mask=within)
    tl.store(out + at + 1, b.to(out.dtype.element_ty), mask=within)


@triton.jit
def _turn_backward(
    grad,
    x,
    bias,
    weight,
    cosines,
    sines,
    of_x,
    sums,
    rows,
    N,
    D,
    of_row,
    of_row_out,
    pairs,
    eps,
    TURNS: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    program, programs, c = tl.program_id(0), tl.num_programs(0), tl.arange(0, WIDTH)
    even = tl.load(weight + 2 * c, mask=2 * c < D, other=0.0).to(tl.float32)[None]
    odd = tl.load(weight + 2 * c + 1, mask=2 * c < D, other=0.0).to(tl.float32)[None]
    of_even, of_odd = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    bias_even, bias_odd = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    for block in range(program, tl.cdiv(rows, BLOCK), programs):
        r = block * BLOCK + tl.arange(0, BLOCK)
        within = (r < rows)[:, None] & (2 * c < D)[None]
        a, b, scale = _pairs(x, bias, r, c, within, D, of_row, eps, WIDTH)
        at = r.to(tl.int64)[:, None] * D + 2 * c[None]
        f = tl.load(grad + at, mask=within, other=0.0).to(tl.float32)
        g = tl.load(grad + at + 1, mask=within, other=0.0).to(tl.float32)
        if TURNS:
            place = (r % N)[:, None] * pairs + (c % pairs)[None]
            cos = tl.load(cosines + place, mask=within, other=0.0)
            sin = tl.load(sines + place, mask=within, other=0.0)
            f, g = f * cos + g * sin, g * cos - f * sin
        of_even += tl.sum(tl.where(within, f * a, 0.0), 0)
        of_odd += tl.sum(tl.where(within, g * b, 0.0), 0)
        f, g = f * even, g * odd
        along = (tl.sum(tl.where(within, f * a + g * b, 0.0), 1) / D)[:, None]
        f, g = scale[:, None] * (f - a * along), scale[:, None] * (g - b * along)
        bias_even += tl.sum(tl.where(within, f, 0.0), 0)
        bias_odd += tl.sum(tl.where(within, g, 0.0), 0)
        at = r.to(tl.int64)[:, None] * of_row_out + 2 * c[None]
        tl.store(of_x + at, f.to(of_x.dtype.element_ty), mask=within)
        tl.store(of_x + at + 1, g.to(of_x.dtype.element_ty), mask=within)
    row = sums + program * 2 * D + 2 * c
    tl.store(row, of_even, mask=2 * c < D)
    tl.store(row + 1, of_odd, mask=2 * c < D)
    tl.store(row + D, bias_even, mask=2 * c < D)
    tl.store(row + D + 1, bias_odd, mask=2 * c < D)


@triton.jit
def _gelu(h, bias, out, rows, D, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    within = (r < rows)[:, None] & (c < D)[None]
    at = r.to(tl.int64)[:, None] * D + c[None]
    x = tl.load(h + at, mask=within, other=0.0).to(tl.float32)
    x += tl.load(bias + c, mask=c < D, other=0.0).to(tl.float32)[None]
    # x (1 + tanh u) / 2 = x sigmoid(2 u)
    y = x * tl.sigmoid((x + x * x * x * CUBE) * ROOT)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=within)


@triton.jit
def _gelu_backward(grad, h, bias, of_h, sums, rows, D, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    program, programs = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    added, total = (
        tl.load(bias + c, mask=c < D, other=0.0).to(tl.float32),
        tl.zeros([WIDTH], tl.float32),
    )
    for block in range(program, tl.cdiv(rows, BLOCK), programs):
        r = block * BLOCK + tl.arange(0, BLOCK)
        within = (r < rows)[:, None] & (c < D)[None]
        at = r.to(tl.int64)[:, None] * D + c[None]
        x = tl.load(h + at, mask=within, other=0.0).to(tl.float32) + added[None]
        s = tl.sigmoid((x + x * x * x * CUBE) * ROOT)
        slope = s + x * s * (1 - s) * ROOT * (1 + x * x * CUBE_SLOPE)
        g = tl.load(grad + at, mask=within, other=0.0).to(tl.float32) * slope
        total += tl.sum(tl.where(within, g, 0.0), 0)
        tl.store(of_h + at, g.to(of_h.dtype.element_ty), mask=within)
    tl.store(sums + program * D + c, total, mask=c < D)


Tensor = torch.Tensor


def residual_norm(
    x: Tensor,
    y: Tensor | None,
    bias: Tensor | None,
    gate: Tensor | None,
    gain: Tensor | None,
    shift: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The operator: see :mod:`ssvae.diffusion.fused_block`."""
    out = x.new_empty(0) if y is None else torch.empty_like(x)
    normed = x.new_empty(0) if gain is None else torch.empty_like(x)
    rows, (_, N, D) = x.shape[0] * x.shape[1], x.shape
    block, width = _tile(D)
    _residual_norm[(triton.cdiv(rows, block),)](
        *(x, _or(y, x), _or(bias, x), _or(gate, x), _or(gain, x), _or(shift, x), out, normed),
        *(rows, N, D, _row(gate), _row(gain), _row(shift), eps),
        *(y is not None, gate is not None, gain is not None, block, width),
        num_warps=8,
    )
    return out, normed


def residual_norm_backward(
    of_out: Tensor,
    of_normed: Tensor | None,
    out: Tensor | None,
    y: Tensor | None,
    gate: Tensor | None,
    gain: Tensor | None,
    has_y: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator: see :mod:`ssvae.diffusion.fused_block`."""
    (B, N, D), (block, width) = of_out.shape, _tile(of_out.shape[2])
    of_x = of_out.new_empty(0) if gain is None else torch.empty_like(of_out)
    of_y = of_out.new_empty(0) if gate is None else torch.empty_like(of_out)
    programs = min(triton.cdiv(N, block), max(1, PROGRAMS * _cores(of_out) // B))
    sums = of_out.new_empty(B, programs, 4, D, dtype=torch.float32)
    _residual_norm_backward[(B, programs)](
        *(of_out, _or(of_normed, of_out), _or(out, of_out), _or(y, of_out), _or(gate, of_out)),
        *(_or(gain, of_out), of_x, of_y, sums, N, D, _row(gate), _row(gain), eps),
        *(has_y, gate is not None, gain is not None, block, width),
        num_warps=8,
    )
    return of_x, of_y, sums.sum(1)


def turned(
    x: Tensor,
    bias: Tensor,
    weight: Tensor,
    cosines: Tensor | None,
    sines: Tensor | None,
    eps: float,
) -> Tensor:
    """The operator: see :mod:`ssvae.diffusion.fused_block`."""
    B, N, D = x.shape
    out, (block, width) = x.new_empty(B, N, D), _tile(D)
    _turn[(triton.cdiv(B * N, block),)](
        *(x, bias, weight, _or(cosines, x), _or(sines, x), out, B * N, N, D, x.stride(1)),
        *(1 if cosines is None else cosines.shape[-1], eps, cosines is not None, block, width // 2),
        num_warps=8,
    )
    return out


def turned_backward(
    grad: Tensor,
    x: Tensor,
    bias: Tensor,
    weight: Tensor,
    cosines: Tensor | None,
    sines: Tensor | None,
    eps: float,
    *,
    out: Tensor,
) -> Tensor:
    """The operator: see :mod:`ssvae.diffusion.fused_block`."""
    (B, N, D), (block, width) = x.shape, _tile(x.shape[2])
    programs = min(triton.cdiv(B * N, block), PROGRAMS * _cores(x))
    sums = x.new_empty(programs, 2, D, dtype=torch.float32)
    _turn_backward[(programs,)](
        *(grad, x, bias, weight, _or(cosines, x), _or(sines, x), out, sums, B * N, N, D),
        *(x.stride(1), out.stride(1), 1 if cosines is None else cosines.shape[-1], eps),
        *(cosines is not None, block, width // 2),
        num_warps=8,
    )
    return sums.sum(0)


def biased_gelu(h: Tensor, bias: Tensor) -> Tensor:
    """The operator: see :mod:`ssvae.diffusion.fused_block`."""
    out, rows, D = torch.empty_like(h), h.numel() // h.shape[-1], h.shape[-1]
    block = ELEMENTS // COLUMNS
    grid = triton.cdiv(rows, block), triton.cdiv(D, COLUMNS)
    _gelu[grid](h, bias, out, rows, D, block, COLUMNS, num_warps=8)
    return out


def biased_gelu_backward(grad: Tensor, h: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The operator: see :mod:`ssvae.diffusion.fused_block`."""
    of_h, rows, D = torch.empty_like(h), h.numel() // h.shape[-1], h.shape[-1]
    block, across = ELEMENTS // COLUMNS, triton.cdiv(D, COLUMNS)
    programs = min(triton.cdiv(rows, block), max(1, PROGRAMS * _cores(h) // across))
    sums = h.new_empty(programs, D, dtype=torch.float32)
    _gelu_backward[(programs, across)](
        grad, h, bias, of_h, sums, rows, D, block, COLUMNS, num_warps=8
    )
    return of_h, sums.sum(0)


def _tile(D: int) -> tuple[int, int]:
    """Rows of a tile, and its columns: all that there are."""
    width = triton.next_power_of_2(D)
    return max(1, ELEMENTS // width), width


def _cores(x: Tensor) -> int:
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1


def _or(tensor: Tensor | None, other: Tensor) -> Any:
    """A tensor that a kernel does not look at stands for one that is not there."""
    return other if tensor is None else tensor


def _row(x: Tensor | None) -> int:
    """From one sample's row to the next; 0 where all share one."""
    return 0 if x is None or len(x) == 1 else x.stride(0)
