"""RMSNorm and SiLU: against their definition, autograd, and, where Triton is, the GPU's kernels."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssvae.models.norm import RMSNorm, RMSNormSiLU, _AddBiased, _NormSiLU

SCRIPT = Path(__file__).parent / "kernels_script.py"


def definition(x, bias, gamma, repeats):
    """What the kernels compute, as the paper writes it."""
    h = x + bias.view(-1, 1, 1, 1)
    h = F.silu(F.normalize(h, dim=1, eps=1e-12) * x.shape[1] ** 0.5 * gamma)
    return torch.cat([h[:, :, :1].expand(-1, -1, repeats, -1, -1), h], 2)


def test_norm_equals_its_definition():
    norm = RMSNorm(6)
    nn.init.normal_(norm.gamma)
    x = torch.randn(2, 6, 2, 3, 3)
    plain = F.normalize(x, dim=1, eps=1e-12) * 6**0.5 * norm.gamma
    torch.testing.assert_close(norm(x), plain)
    assert torch.isfinite(norm(torch.zeros_like(x))).all()


@pytest.mark.parametrize("repeats", [0, 2])
@pytest.mark.parametrize("grad", [True, False])
def test_norm_and_silu_equal_their_definition(repeats, grad):
    norm, bias = RMSNormSiLU(6).double(), torch.randn(6, dtype=torch.float64)
    nn.init.normal_(norm.gamma)
    x = torch.randn(2, 6, 3, 4, 5, dtype=torch.float64)
    reference = definition(x, bias, norm.gamma, repeats)
    with torch.set_grad_enabled(grad):
        out = None if grad else torch.empty_like(reference)
        torch.testing.assert_close(norm(x, repeats, bias, out), reference)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norm_in_half_precision(dtype):
    norm = RMSNormSiLU(64).to(dtype)
    x = torch.full((1, 64, 1, 2, 2), 3e4, dtype=dtype)  # the squares are beyond float16
    x[..., 0] = 0
    with torch.no_grad():
        y = norm(x)
        out = norm(x, out=torch.empty_like(x))
    assert y.dtype == dtype
    assert torch.equal(y[..., 0], torch.zeros_like(y[..., 0]))
    torch.testing.assert_close(y[..., 1], F.silu(torch.ones_like(y[..., 1])))
    torch.testing.assert_close(out, y)


def test_under_autocast_a_norm_keeps_the_precision_of_its_input():
    norm = RMSNormSiLU(4)
    x = torch.randn(1, 4, 1, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x.bfloat16()).dtype == torch.bfloat16
        assert norm(x).dtype == torch.float32


@pytest.mark.parametrize("repeats", [0, 2])
def test_what_a_gpu_differentiates_by_is_the_gradient(repeats):
    """The backward pass that is written by hand, on the CPU, against autograd's."""
    x = torch.randn(2, 6, 3, 4, 5, requires_grad=True)
    bias, gamma = (torch.randn(6, requires_grad=True) for _ in range(2))
    gains, leaves = gamma.view(-1, 1, 1, 1), (x, bias, gamma)
    grad = torch.randn(2, 6, repeats + 3, 4, 5)
    found = _NormSiLU.apply(x, bias, gains, repeats)
    reference = definition(x, bias, gains, repeats)
    torch.testing.assert_close(found, reference)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    for one, other in zip(
        torch.autograd.grad(found, leaves, grad),
        torch.autograd.grad(reference, leaves, grad),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_bias_added_late_has_its_gradient():
    h, shortcut = (torch.randn(2, 6, 3, 4, 5, requires_grad=True) for _ in range(2))
    bias = torch.randn(6, requires_grad=True)
    grad, leaves = torch.randn(2, 6, 3, 4, 5), (h, bias, shortcut)
    found, reference = _AddBiased.apply(h * 2, bias, shortcut), h * 2 + bias.view(-1, 1, 1, 1)
    for one, other in zip(
        torch.autograd.grad(found, leaves, grad),
        torch.autograd.grad(reference + shortcut, leaves, grad),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernels_compute_what_is_written_out():
    """By Triton's interpreter, which a process must be told of before it imports Triton."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
