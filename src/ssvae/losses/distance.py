"""The distance of two maps of features, as LPIPS weighs it.

On a GPU it is one kernel forward and one backward (:mod:`ssvae.losses.kernels`).
"""

from typing import Any

import torch

from ssvae.fused import fuses, operator

TINY = 1e-10
"""Added to lengths, as published."""


def unit_distance(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Feature maps (N, C, H, W), channels weighed by (C,), to the mean over positions (N,).

    The squared distance of vectors scaled to unit length, at least in float32. Its gradient reaches
    ``a`` alone where ``b`` needs none.
    """
    if fuses(a) and a.dtype == b.dtype and not b.requires_grad:
        a, b = (x.contiguous(memory_format=torch.channels_last) for x in (a, b))
        return _UnitDistance.apply(a, b, weights)
    apart = (_unit(a) - _unit(b)).square() * weights.view(-1, 1, 1)  # no matmul: autocast halves it
    return apart.sum(1).mean((1, 2))


class _UnitDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b, weights)
        return _fused_distance(a, b, weights).mean((1, 2))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        return _fused_distance_backward(grad, *ctx.saved_tensors), None, None


def _unit(features: torch.Tensor) -> torch.Tensor:
    """A vector of zeros has length 0 and, here, gradient 0, where a square root has none."""
    x = features.to(torch.promote_types(features.dtype, torch.float32))
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + TINY)


# What the operators compute, written out.


def _distance(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return ((_unit(a) - _unit(b)).square() * weights.view(-1, 1, 1)).sum(1)


def _distance_backward(
    grad: torch.Tensor, a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    x = a.float()
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    u, positions = x / (length + TINY), a[0, 0].numel()
    g = 2 * weights.view(-1, 1, 1) * (u - _unit(b)) * (grad.view(-1, 1, 1, 1) / positions)
    along = (g * u).sum(1, keepdim=True) * (x / length.clamp(min=TINY))
    return ((g - along) / (length + TINY)).to(a.dtype)


KERNELS = "ssvae.losses.kernels"
_fused_distance = operator(
    "distance(Tensor a, Tensor b, Tensor weights) -> Tensor", _distance, KERNELS
)
_fused_distance_backward = operator(
    "distance_backward(Tensor grad, Tensor a, Tensor b, Tensor weights) -> Tensor",
    _distance_backward,
    KERNELS,
)
