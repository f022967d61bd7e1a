"""Every regulariser refuses what holds no floating-point numbers, in the same words."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ssvae.regularizers import (
    ChannelPrefix,
    DecoderNoise,
    Equivariance,
    FutureDropping,
    InputMasking,
    LatentMasking,
    LatentNoise,
    LocalCorrelation,
    ScaleEquivariance,
    SpectralDenoising,
    SpectrumMatching,
    balance,
)

CLIPS = torch.zeros(2, 3, 5, 16, 16)
GIVEN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "lcr": LocalCorrelation(),
    "lmr": LatentMasking(4),
    "noise": LatentNoise(),
    "decoder-noise": DecoderNoise(),
    "prefix": ChannelPrefix(),
    "future": FutureDropping(4),
    "spectral-denoising": SpectralDenoising(),
    "se": lambda z: ScaleEquivariance()(z, CLIPS[: len(z)])[0],
    "eq": lambda z: Equivariance()(z, CLIPS[: len(z)])[0],
    "spectrum": lambda z: SpectrumMatching()(z, CLIPS[: len(z)]),
    "input-masking": InputMasking(),
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_numbers_of_another_kind(name, dtype):
    with pytest.raises(ValueError, match=f"must hold floating-point numbers, got {dtype}: give"):
        GIVEN[name](torch.ones(2, 4, 2, 4, 4).to(dtype))


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("evaluating", [False, True])
def test_nothing_at_all(name, evaluating):
    work = GIVEN[name]
    if isinstance(work, nn.Module):
        work.train(not evaluating)
    with pytest.raises(ValueError, match=r"must hold at least one number, got \(0, 4, 2, 4, 4\)"):
        work(torch.ones(0, 4, 2, 4, 4))


def test_a_penalty_without_a_gradient():
    layer = nn.Conv3d(3, 8, 1)
    moments, lcr = layer(torch.randn(2, 3, 3, 4, 4)), LocalCorrelation()
    with pytest.raises(ValueError, match="must make a scalar .* got one that is detached: compute"):
        balance(moments, lambda m: lcr(m.detach()), layer)
    with pytest.raises(ValueError, match=r"got a tensor \(2, 8, 3, 4, 4\)"):
        balance(moments, lambda m: m.abs(), layer)
