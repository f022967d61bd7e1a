import math

import pytest
import torch

from ssvae.regularizers import SpectralDenoising


def waves(cycles: int, side: int = 8) -> torch.Tensor:
    """Of one cosine along rows, deviation of a half of the square root of two."""
    wave = torch.cos(math.pi * cycles * (torch.arange(side, dtype=torch.float64) + 0.5) / side)
    return wave.expand(2, 3, 2, side, side)


def test_what_is_low_costs_nothing_and_what_is_high_all():
    module = SpectralDenoising((0.5,))
    # Frequencies 0 to 3 of 8 are low.
    assert module(waves(3)).item() == pytest.approx(0, abs=1e-12)
    assert module(waves(4)).item() == pytest.approx(1)
    both = SpectralDenoising((0.5, 0.25))
    assert both(waves(3)).item() == pytest.approx(0.5), "high at a quarter, low at a half"
    mixed = waves(1) + 2 * waves(7)
    assert module(mixed).item() == pytest.approx(4 / 5)
    assert module(0.01 * mixed).item() == pytest.approx(4 / 5), "small latents gain nothing"


def test_the_target_is_a_projection_in_space():
    """Sum by sum, of one frame."""
    torch.manual_seed(0)
    z = torch.randn(1, 1, 4, 6, dtype=torch.float64)
    basis = []
    for i in range(2):
        for j in range(3):
            wave = torch.tensor(
                [
                    [
                        math.cos(math.pi * i * (a + 0.5) / 4)
                        * math.cos(math.pi * j * (b + 0.5) / 6)
                        for b in range(6)
                    ]
                    for a in range(4)
                ],
                dtype=torch.float64,
            )
            basis.append(wave / wave.norm())
    low = sum((wave * z[0, 0]).sum() * wave for wave in basis)
    expected = (z[0, 0] - low).square().mean() / z.var(correction=0)
    assert SpectralDenoising((0.5,))(z).item() == pytest.approx(expected.item())


def test_a_step_suppresses_what_is_high_alone():
    z = (waves(1) + waves(7)).clone().requires_grad_()
    SpectralDenoising((0.5,))(z).backward()
    assert z.grad is not None
    # The gradient is along the high wave, and against nothing else.
    direction = z.grad / z.grad.norm()
    assert abs(float((direction * waves(7) / waves(7).norm()).sum())) == pytest.approx(1)


def test_videos_are_their_frames():
    torch.manual_seed(0)
    module, z = SpectralDenoising(), torch.randn(2, 3, 1, 5, 4, dtype=torch.float64)
    assert module(z).item() == pytest.approx(module(z[:, :, 0]).item())
    for shape in ((2, 3, 1, 1, 4), (3, 5, 4)):
        with pytest.raises(ValueError, match="at least 2 wide and high"):
            module(torch.randn(shape))
    for levels in ((), (0.0,), (0.5, 1.0)):
        with pytest.raises(ValueError, match=r"levels must be some numbers in \(0, 1\)"):
            SpectralDenoising(levels)
