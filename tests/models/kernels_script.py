"""The GPU's kernels against what is written out, in Triton's interpreter: TRITON_INTERPRET=1."""

import itertools

import torch
import torch.nn.functional as F

from ssvae.losses import distance
from ssvae.losses import kernels as distance_kernels
from ssvae.models import kernels, norm

CL = torch.channels_last_3d


def laid_out(*size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(size).to(dtype).contiguous(memory_format=CL)


def check(channels: int, repeats: int, dtype: torch.dtype, biased: bool) -> None:
    """Forward into a part of a larger tensor, as where a strip lies among rows; backward."""
    B, T, H, W = 2, 3, 5, 7
    x, gamma = laid_out(B, channels, T, H, W, dtype=dtype), torch.randn(channels, 1, 1, 1)
    bias = torch.randn(channels) if biased else None
    size, close = (B, channels, repeats + T, H, W), dict(rtol=2e-2, atol=2e-2)
    if dtype == torch.float32:
        close = dict(rtol=1e-4, atol=1e-4)
    whole = torch.zeros(B, channels, repeats + T, H + 3, W).contiguous(memory_format=CL).to(dtype)
    found, reference = whole[:, :, :, 1:-2], torch.empty(size, dtype=dtype)
    kernels.norm_silu(x, bias, gamma, repeats, out=found)
    norm._norm_silu(x, bias, gamma, repeats, out=reference)
    torch.testing.assert_close(found, reference, **close)
    assert not whole[:, :, :, 0].any()
    assert not whole[:, :, :, -2:].any()
    grad = laid_out(*size, dtype=dtype)
    found = kernels.norm_silu_backward(grad, x, bias, gamma, repeats)
    reference = norm._norm_silu_backward(grad, x, bias, gamma, repeats)
    assert found[0].is_contiguous(memory_format=CL)
    for one, other in zip(found, reference, strict=True):
        torch.testing.assert_close(one, other, **close)


torch.manual_seed(0)
for channels, repeats, dtype, biased in itertools.product(
    (8, 48), (0, 2), (torch.float32, torch.bfloat16), (False, True)
):
    check(channels, repeats, dtype, biased)
h, shortcut = (laid_out(2, 48, 3, 5, 7, dtype=torch.float32) for _ in range(2))
bias = torch.randn(48)
reference = h + bias.view(-1, 1, 1, 1) + shortcut
torch.testing.assert_close(kernels.add_biased(h, bias, shortcut), reference)
kernels.add_biased_(h, bias, shortcut)
torch.testing.assert_close(h, reference)
flat = h.clone()
kernels.activated_(flat, bias, 0.2)
torch.testing.assert_close(flat, F.leaky_relu(h + bias.view(-1, 1, 1, 1), 0.2))
weight = torch.randn(5, 3, 3, 3, 7)
torch.testing.assert_close(kernels.summed_taps(weight, torch.float32), weight.sum(1))
for dtype in (torch.float32, torch.bfloat16):
    a, b = (torch.randn(2, 48, 5, 7).to(dtype).relu() for _ in range(2))
    a[0, :, 2] = 0  # where no feature is
    a, b = (x.contiguous(memory_format=torch.channels_last) for x in (a, b))
    weights, grad = torch.rand(48), torch.randn(2)
    close = dict(rtol=2e-2, atol=2e-2) if dtype == torch.bfloat16 else dict(rtol=1e-4, atol=1e-4)
    for name, arguments in (("distance", ()), ("distance_backward", (grad,))):
        found = getattr(distance_kernels, name)(*arguments, a, b, weights)
        reference = getattr(distance, f"_{name}")(*arguments, a, b, weights)
        torch.testing.assert_close(found, reference, **close)
