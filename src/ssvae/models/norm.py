"""RMSNorm with SiLU after it, as it stands before each convolution.

On a GPU it is one kernel forward and one backward (:mod:`ssvae.models.kernels`), which also add the
bias of the convolution before and repeat the first frame for the one after: 4 bytes a value forward
and 6 backward in bfloat16, where separate operators take 22 and 87. Elsewhere, in other number
formats, and where torch.compile joins operators itself, it is written out.

Shape legend: B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.fused import fuses, operator

TINY = 1e-12
"""The shortest length that is divided by."""


class RMSNorm(nn.Module):
    """Scale each position's channel vector to length sqrt(C), then by a learned gamma.

    In half precision the lengths are computed in float32, where no square overflows; what comes out
    is of the input's precision, under autocast too.
    """

    def __init__(self, channels: int, dims: int = 3):
        """``dims`` counts the axes behind the channels: 3 for video, 2 for frames."""
        super().__init__()
        self.scale = channels**0.5
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, ...) to the same shape."""
        return _normalised(x, self.gamma)


class RMSNormSiLU(RMSNorm):
    """The same with SiLU after it, for video."""

    def forward(
        self,
        x: torch.Tensor,
        repeats: int = 0,
        bias: torch.Tensor | None = None,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, C, T, H, W) to (B, C, repeats + T, H, W), the first frame repeated in front.

        ``bias`` (C,) is added to x first. ``out`` takes the result, without a copy between; not for
        autograd.
        """
        if fuses(x):
            x = x.contiguous(memory_format=torch.channels_last_3d)
            if out is None:
                return _NormSiLU.apply(x, bias, self.gamma, repeats)
            _fused_norm_silu(x, bias, self.gamma, repeats, out=out)
            return out
        if out is not None:
            _norm_silu(x, bias, self.gamma, repeats, out=out)
            return out
        x = x if bias is None else x + bias.view(-1, 1, 1, 1)
        return repeated(F.silu(_normalised(x, self.gamma)), repeats)


def repeated(x_BCTHW: torch.Tensor, repeats: int) -> torch.Tensor:
    """With the first frame so many times in front, in the memory format of x.

    An expanded frame, joined to the others, would lose it.
    """
    return torch.cat([x_BCTHW[:, :, :1]] * repeats + [x_BCTHW], 2) if repeats else x_BCTHW


class _NormSiLU(torch.autograd.Function):
    """The kernels, differentiable once; what is kept for the backward pass is x alone."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, bias: torch.Tensor | None, gamma: torch.Tensor, repeats: int
    ) -> torch.Tensor:
        ctx.save_for_backward(x, bias, gamma)
        ctx.repeats = repeats
        B, C, T, H, W = x.shape
        out = empty((B, C, repeats + T, H, W), x)
        _fused_norm_silu(x, bias, gamma, repeats, out=out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        x, bias, gamma = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        of_x, sums = _fused_norm_silu_backward(grad, x, bias, gamma, ctx.repeats)
        of_bias = None if bias is None else sums[1].to(bias.dtype)
        return of_x, of_bias, sums[0].to(gamma.dtype).view_as(gamma), None


class _AddBiased(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor
    ) -> torch.Tensor:
        ctx.dtype = bias.dtype
        return _fused_add_biased(h, bias, shortcut)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        # Once here, or each convolution further back would lay out its own.
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        return grad, grad.sum((0, 2, 3, 4), dtype=ctx.dtype), grad


def empty(size: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Memory for (B, C, T, H, W), channels last."""
    return torch.empty(
        tuple(size), dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d
    )


def add_biased(h: torch.Tensor, bias: torch.Tensor | None, shortcut: torch.Tensor) -> torch.Tensor:
    """h + bias + shortcut, (B, C, T, H, W) and (C,), in one pass; h may be written over."""
    if bias is None:
        return added(h, shortcut)
    # As they are already where convolutions keep the format of what they are given.
    h, shortcut = (x.contiguous(memory_format=torch.channels_last_3d) for x in (h, shortcut))
    if torch.is_grad_enabled():
        return _AddBiased.apply(h, bias, shortcut)
    _fused_add_biased_(h, bias, shortcut)
    return h


def added(h: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
    """h + shortcut in place of h, but where autograd would copy what h is a view of."""
    if torch.is_grad_enabled() and h._is_view():
        return h + shortcut
    h += shortcut
    return h


def _normalised(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    return (x * _factor(x)).to(x.dtype) * gamma.to(x.dtype)


def _factor(x: torch.Tensor) -> torch.Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
    return x.shape[1] ** 0.5 / length.clamp(min=TINY)


# What the operators compute, written out.


def _norm_silu(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    gamma: torch.Tensor,
    repeats: int,
    *,
    out: torch.Tensor,
) -> None:
    x = x if bias is None else x + bias.view(-1, 1, 1, 1)
    behind = out[:, :, repeats:]
    torch.mul(x, _factor(x), out=behind).mul_(gamma)
    F.silu(behind, inplace=True)
    if repeats:
        out[:, :, :repeats] = behind[:, :, :1]


def _norm_silu_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None,
    gamma: torch.Tensor,
    repeats: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    h = x.float() if bias is None else x.float() + bias.float().view(-1, 1, 1, 1)
    factor, g = _factor(h), grad[:, :, repeats:].float().clone()
    g[:, :, :1] += grad[:, :, :repeats].float().sum(2, keepdim=True)
    n = h * factor
    g = torch.ops.aten.silu_backward(g, n * gamma.float())
    of_gamma = (g * n).sum((0, 2, 3, 4))
    g = g * gamma.float()
    g = factor * (g - n * (g * n).mean(1, keepdim=True))
    return g.to(x.dtype), torch.stack([of_gamma, g.sum((0, 2, 3, 4))])


def _add_biased(h: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
    return (h + bias.view(-1, 1, 1, 1) + shortcut).to(h.dtype)


def _add_biased_(h: torch.Tensor, bias: torch.Tensor, shortcut: torch.Tensor) -> None:
    h += bias.view(-1, 1, 1, 1) + shortcut


KERNELS = "ssvae.models.kernels"
_fused_norm_silu = operator(
    "norm_silu(Tensor x, Tensor? bias, Tensor gamma, int repeats, *, Tensor(a!) out) -> ()",
    _norm_silu,
    KERNELS,
)
_fused_norm_silu_backward = operator(
    "norm_silu_backward(Tensor grad, Tensor x, Tensor? bias, Tensor gamma, int repeats)"
    " -> (Tensor, Tensor)",
    _norm_silu_backward,
    KERNELS,
)
_fused_add_biased = operator(
    "add_biased(Tensor h, Tensor bias, Tensor shortcut) -> Tensor", _add_biased, KERNELS
)
_fused_add_biased_ = operator(
    "add_biased_(Tensor(a!) h, Tensor bias, Tensor shortcut) -> ()", _add_biased_, KERNELS
)
