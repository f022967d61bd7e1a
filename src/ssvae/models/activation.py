"""A convolution and the leaky ReLU after it, as discriminators and VGG16 are made of them.

On a GPU bias and ReLU are one kernel (:mod:`ssvae.models.kernels`), not two.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.fused import fuses, operator


def activated(
    conv: nn.Conv2d | nn.Conv3d, x: torch.Tensor, slope: float, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """The layer, with another ``weight`` where one is given, and leaky ReLU of this slope."""
    weight = conv.weight if weight is None else weight
    run: Any = F.conv3d if isinstance(conv, nn.Conv3d) else F.conv2d
    if conv.bias is not None and fuses(x):
        y = run(x, weight, None, conv.stride, conv.padding)
        video = isinstance(conv, nn.Conv3d)
        last = torch.channels_last_3d if video else torch.channels_last
        return _Activated.apply(y.contiguous(memory_format=last), conv.bias, slope)
    y = run(x, weight, conv.bias, conv.stride, conv.padding)
    return F.leaky_relu(y, slope, inplace=True)


class _Activated(torch.autograd.Function):
    """In place, and differentiable twice, as the R1 penalty wants it."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, bias: torch.Tensor, slope: float) -> torch.Tensor:
        ctx.slope, ctx.dtype = slope, bias.dtype
        _fused_activated(y, bias, slope)
        ctx.mark_dirty(y)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        grad = torch.ops.aten.leaky_relu_backward(grad, y, ctx.slope, True)
        axes = (0, *range(2, y.ndim))
        return grad, grad.sum(axes, dtype=ctx.dtype) if ctx.needs_input_grad[1] else None, None


def _activated(y: torch.Tensor, bias: torch.Tensor, slope: float) -> None:
    y += bias.view(-1, *[1] * (y.ndim - 2))
    F.leaky_relu(y, slope, inplace=True)


_fused_activated = operator(
    "activated_(Tensor(a!) y, Tensor bias, float slope) -> ()", _activated, "ssvae.models.kernels"
)
