"""Backward passes that are written by hand, against autograd's: on the CPU, by the written-out
operators; their kernels are held against those by Triton's interpreter (test_norm.py).
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ssvae.losses.distance import _UnitDistance, unit_distance
from ssvae.models.activation import _Activated
from ssvae.models.blocks import summed_over_time
from ssvae.models.discriminator import SpectralNorm
from ssvae.models.resample import PhaseConv3d


def agree(found: torch.Tensor, reference: torch.Tensor, leaves: tuple[torch.Tensor, ...]) -> None:
    """Values and gradients are the same."""
    torch.testing.assert_close(found, reference)
    grad = torch.randn_like(reference)
    for one, other in zip(
        torch.autograd.grad(found, leaves, grad, retain_graph=True),
        torch.autograd.grad(reference, leaves, grad, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def leaf(*size: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(size, dtype=dtype).requires_grad_()


def test_the_distance_of_features():
    a, b, weights = leaf(2, 6, 3, 4, dtype=torch.float32), torch.randn(2, 6, 3, 4), torch.rand(6)
    found, reference = _UnitDistance.apply(a, b, weights), unit_distance(a, b, weights)
    agree(found, reference, (a,))
    zeros = torch.zeros_like(a).requires_grad_()
    (of_zeros,) = torch.autograd.grad(_UnitDistance.apply(zeros, b, weights).sum(), zeros)
    assert torch.isfinite(of_zeros).all()


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_an_activation_and_its_second_derivative(slope):
    y, bias = leaf(2, 6, 3, 4), leaf(6)
    found = _Activated.apply(y * 1, bias, slope)
    reference = F.leaky_relu(y + bias.view(-1, 1, 1), slope)
    agree(found, reference, (y, bias))
    again = [
        torch.autograd.grad(out.square().sum(), y, create_graph=True)[0].square().sum()
        for out in (found, reference)
    ]
    agree(*again, (y, bias))


def test_a_convolution_of_stills():
    drawn = torch.randn(5, 4, 3, 3, 3, dtype=torch.float64)
    weight = drawn.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    found = summed_over_time(weight)
    agree(found, weight.sum(2), (weight,))
    assert found.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert summed_over_time(weight.float()).dtype == torch.bfloat16


@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.parametrize("space", [1, 2])
def test_phases_of_an_upsampling(time, space):
    """Against the convolution of the large grid; zeros of its border are those of the small one."""
    if time == space == 1:
        pytest.skip("nothing is resampled")
    conv = PhaseConv3d(3, 4, time, space).double()
    x, leaves = leaf(2, 3, 5, 3, 4), (conv.weight, conv.bias)
    grown = F.interpolate(x, scale_factor=(time, space, space), mode="nearest")
    seen = x if time == 2 else F.pad(x, (0, 0, 0, 0, 2, 0))
    plain = F.conv3d(F.pad(grown, (1, 1, 1, 1, 2, 0)), conv.weight, conv.bias)
    phases = conv(seen)  # (B, T, H, W, h, w, t, C')
    grid = phases.permute(0, 7, 1, 6, 2, 4, 3, 5).flatten(6, 7).flatten(4, 5).flatten(2, 3)
    agree(grid, plain[:, :, 2 * (time - 1) :], (x, *leaves))  # without what looks back further


def test_spectral_norm_is_torchs():
    """The same start, two calls, and their gradients: layers together, and one by one."""
    torch.manual_seed(0)
    plain = nn.ModuleList([nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1)]).double()
    ours = SpectralNorm([layer.weight.detach().float() for layer in plain]).double()
    weights = [layer.weight.detach().clone().requires_grad_() for layer in plain]
    theirs = [spectral_norm(layer) for layer in plain]
    for i, layer in enumerate(theirs):
        C, *kernel = weights[i].shape[1:]
        right = getattr(ours, f"right{i}").view(*kernel, C).movedim(-1, 0)
        layer.parametrizations.weight[0]._v.copy_(right.flatten())
    for _ in range(2):
        found, references = ours(weights), [layer.weight for layer in theirs]
        grads = [torch.randn_like(w) for w in references]
        originals = [layer.parametrizations.weight.original for layer in theirs]
        torch.testing.assert_close(found, references)
        torch.testing.assert_close(
            torch.autograd.grad(found, weights, grads),
            torch.autograd.grad(references, originals, grads),
        )
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(weights)[0].dtype == torch.bfloat16
