import math

import pytest
import torch

from ssvae.regularizers import SpectrumMatching
from ssvae.regularizers.spectrum_matching import spectrum


def naive_power(x: torch.Tensor) -> torch.Tensor:
    """The squared cosine transform of a picture (H, W), sum by sum."""
    H, W = x.shape
    x = x - x.mean()
    power = torch.zeros(H, W, dtype=x.dtype)
    for i in range(H):
        for j in range(W):
            total = 0.0
            for a in range(H):
                for b in range(W):
                    cosines = math.cos(math.pi * i * (a + 0.5) / H) * math.cos(
                        math.pi * j * (b + 0.5) / W
                    )
                    total += float(x[a, b]) * cosines
            scale = math.sqrt((1 if i == 0 else 2) / H * (1 if j == 0 else 2) / W)
            power[i, j] = (scale * total) ** 2
    return power


def test_equals_the_naive_form():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 1, 5, 4, dtype=torch.float64) + 7
    power, rings = naive_power(x[0, 0, 0]), 3
    largest = math.hypot(4, 3)
    expected = []
    for ring in range(rings):
        inside = [
            power[i, j]
            for i in range(5)
            for j in range(4)
            if (i or j) and min(int(math.hypot(i, j) / largest * rings), rings - 1) == ring
        ]
        expected.append(sum(inside) / len(inside))
    torch.testing.assert_close(spectrum(x, rings)[0], torch.stack(expected))


def test_one_wave_is_in_one_ring():
    wave = torch.cos(math.pi * 6 * (torch.arange(8) + 0.5) / 8).expand(2, 3, 2, 8, 8)
    power = spectrum(wave, 4)
    assert power.argmax(1).tolist() == [2, 2]  # 6 of sqrt(98), in quarters
    assert power[:, 2].sum() == pytest.approx(float(power.sum()), rel=1e-5)


def test_the_divergence():
    torch.manual_seed(0)
    clips = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    same = SpectrumMatching(delta=0.0)
    assert same(clips, clips).item() == pytest.approx(0, abs=1e-9)
    assert same(3 * clips + 2, clips).item() == pytest.approx(0, abs=1e-6), "power is in shares"
    # One ring's power times f^delta, by hand.
    p = spectrum(clips, 8)
    f = torch.arange(1, 9, dtype=torch.float64)
    q = p * f**1.5
    q, p = q / q.sum(1, keepdim=True), p / p.sum(1, keepdim=True)
    expected = (q * (q / p).log()).sum(1).mean()
    assert SpectrumMatching(delta=1.5)(clips, clips).item() == pytest.approx(
        expected.item(), abs=1e-5
    )


def test_descent_matches_the_spectrum():
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.randn(2, 3, 4, 4), scale_factor=8, mode="bicubic"
    )
    z = torch.randn(2, 4, 8, 8, requires_grad=True)
    module = SpectrumMatching()
    optimizer = torch.optim.Adam([z], 0.05)
    before = module(z, smooth).item()
    for _ in range(200):
        optimizer.zero_grad()
        module(z, smooth).backward()
        optimizer.step()
    assert module(z, smooth).item() < 0.05 * before


def test_manners():
    z, clips = torch.randn(2, 4, 3, 4, 4), torch.randn(2, 3, 9, 16, 16)
    module = SpectrumMatching()
    expected = module(z, clips).item()
    assert module(z.bfloat16(), clips.bfloat16()).dtype == torch.float32
    assert module(z.bfloat16(), clips.bfloat16()).item() == pytest.approx(
        module(z, clips).item(), rel=0.02
    )
    with torch.autocast("cpu", torch.bfloat16):  # computed in float32 all the same
        assert module(z, clips).item() == pytest.approx(expected, abs=1e-6)
    constant = torch.zeros(2, 4, 3, 4, 4, requires_grad=True)
    module(constant, clips).backward()
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()
    for settings in (dict(rings=1), dict(delta=float("nan"))):
        with pytest.raises(ValueError, match=next(iter(settings))):
            SpectrumMatching(**settings)
    with pytest.raises(ValueError, match="at least 2 wide"):
        module(torch.zeros(1, 4, 1, 1, 4), torch.zeros(1, 3, 1, 8, 8))
