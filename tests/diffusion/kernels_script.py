"""The GPU's kernels against what is written out, in Triton's interpreter: TRITON_INTERPRET=1."""

import itertools

import torch

from ssvae.diffusion import fused_block, kernels

B, N, D = 2, 10, 24


def close(found, reference, dtype: torch.dtype) -> None:
    """Of one tensor or of several."""
    some = dict(rtol=2e-2, atol=5e-2) if dtype == torch.bfloat16 else dict(rtol=1e-4, atol=1e-4)
    found, reference = ((x,) if isinstance(x, torch.Tensor) else x for x in (found, reference))
    for one, other in zip(found, reference, strict=True):
        torch.testing.assert_close(one, other, **some)


def check_residual(dtype: torch.dtype, has_y: bool, has_gate: bool, norm: str) -> None:
    """Forward and backward; gates and gains are columns of a larger tensor, as modulations are."""
    x, y = (torch.randn(B, N, D).to(dtype) for _ in range(2))
    bias, modulation = torch.randn(D), torch.randn(B, 3, D)
    gate, gain, shift = modulation.unbind(1)
    if norm == "shared":
        gain, shift = gain[:1], shift[:1]
    gain, shift = (None, None) if norm == "none" else (gain, shift)
    y, bias, gate = y if has_y else None, bias if has_y else None, gate if has_gate else None
    arguments = x, y, bias, gate, gain, shift, 1e-6
    close(kernels.residual_norm(*arguments), fused_block._residual_norm(*arguments), dtype)
    grads = torch.randn(B, N, D).to(dtype), torch.randn(B, N, D).to(dtype)
    of_normed, out = (None, None) if norm == "none" else (grads[1], x)
    arguments = grads[0], of_normed, out, y if has_gate else None, gate, gain, has_y, 1e-6
    found = kernels.residual_norm_backward(*arguments)
    close(found, fused_block._residual_norm_backward(*arguments), dtype)


def check_turned(dtype: torch.dtype, turns: bool) -> None:
    """Queries are columns of a larger tensor."""
    x = torch.randn(B, N, 3 * D).to(dtype).chunk(3, -1)[1]
    bias, weight = torch.randn(D), torch.randn(D)
    cosines, sines = (torch.randn(N, 6) for _ in range(2)) if turns else (None, None)
    arguments = x, bias, weight, cosines, sines, 1e-6
    close(kernels.turned(*arguments), fused_block._turned(*arguments), dtype)
    grad = torch.randn(B, N, D).to(dtype)
    ours, reference = (torch.zeros(B, N, 3 * D).to(dtype) for _ in range(2))
    sums = [
        function(grad, *arguments, out=into.chunk(3, -1)[1])
        for function, into in (
            (kernels.turned_backward, ours),
            (fused_block._turned_backward, reference),
        )
    ]
    close((ours, sums[0]), (reference, sums[1]), dtype)


torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    for has_y, norm in itertools.product((False, True), ("own", "shared", "none")):
        for has_gate in (False, True) if has_y else (False,):
            if has_y or norm != "none":
                check_residual(dtype, has_y, has_gate, norm)
    for turns in (False, True):
        check_turned(dtype, turns)
    h, bias, grad = torch.randn(B, N, 40).to(dtype), torch.randn(40), torch.randn(B, N, 40)
    close(kernels.biased_gelu(h, bias), fused_block._gelu(h, bias), dtype)
    arguments = grad.to(dtype), h, bias
    close(kernels.biased_gelu_backward(*arguments), fused_block._gelu_backward(*arguments), dtype)
