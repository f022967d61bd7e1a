import pytest
import torch

from ssvae.analysis.learnability import decoded_strongest, learnability, neighbours_r2, past_r2
from ssvae.spectra.joint import JointSpectrum


def test_neighbours_tell_all_nothing_or_half():
    torch.manual_seed(0)
    noise = torch.randn(60, 3, 3, 6, 6)
    assert neighbours_r2(noise) == pytest.approx(0, abs=0.03)
    constant = torch.randn(60, 3, 1, 1, 1).expand(60, 3, 3, 6, 6)
    assert neighbours_r2(constant) == pytest.approx(1, abs=0.02)
    half = torch.randn(400, 3, 1, 1, 1) + torch.randn(400, 3, 1, 24, 24)
    # Half of the variance is a constant, and the mean of its eight noisy copies tells 8/9 of that.
    assert neighbours_r2(half) == pytest.approx(0.5 * 8 / 9, abs=0.03)
    dead = torch.cat([half, torch.full((400, 1, 1, 24, 24), 3.0)], 1)
    assert neighbours_r2(dead) == pytest.approx(neighbours_r2(half), abs=1e-6)


def test_regression_is_that_of_least_squares():
    """Each value is the mean of its two neighbours in width and a known noise."""
    torch.manual_seed(0)
    white = torch.randn(200, 1, 1, 1, 66)
    smooth = (white[..., :-2] + white[..., 1:-1] + white[..., 2:]) / 3**0.5
    # Of a moving sum of three, the values next to it tell what a regression on them does.
    x = torch.stack([smooth[..., 0:-2], smooth[..., 2:]], -1).reshape(-1, 2).double()
    y = smooth[..., 1:-1].reshape(-1, 1).double()
    expected = 1 - (y - x @ torch.linalg.lstsq(x, y).solution).square().mean() / y.square().mean()
    assert neighbours_r2(smooth) == pytest.approx(expected.item(), abs=0.04)


def test_what_the_decoder_needs():
    torch.manual_seed(0)
    strong = torch.randn(64, 1, 1, 1, 1).expand(64, 1, 2, 4, 4)
    z = torch.cat([strong, 0.01 * torch.randn(64, 1, 2, 4, 4)], 1)
    modes = JointSpectrum().update(z).result()
    # A decoder of the strong channel loses nothing, one of the other nearly all.
    kept = decoded_strongest(z, modes, lambda x: x[:, :1].expand(-1, 3, -1, -1, -1))
    lost = decoded_strongest(z, modes, lambda x: 100 * x[:, 1:].expand(-1, 3, -1, -1, -1))
    assert kept > 30
    assert lost < 10


def test_all_figures():
    torch.manual_seed(0)
    found = learnability(torch.randn(40, 4, 3, 4, 4), lambda z: z[:, :3])
    assert found["joint_viv"] == pytest.approx(1.5, abs=0.15)
    assert 0.7 < found["joint_effective_share"] <= 1
    assert found["joint_modes"] == pytest.approx(192 * found["joint_effective_share"])
    assert found["joint_viv_sum"] == pytest.approx(4 * found["joint_viv"])
    assert found["neighbours_r2"] < 0.05
    for shape in ((1, 4, 3, 4, 4), (4, 3, 4, 4)):
        with pytest.raises(ValueError, match="at least two clips"):
            neighbours_r2(torch.randn(shape))
    with pytest.raises(ValueError, match="constant"):
        neighbours_r2(torch.ones(4, 2, 1, 2, 2))


def test_the_past_tells_what_it_holds():
    torch.manual_seed(0)
    noise = torch.randn(60, 3, 3, 6, 6)
    assert past_r2(noise) == pytest.approx(0, abs=0.03)
    # A step of a walk: the frame before tells half of the variance of each.
    later = 0.5**0.5 * noise[:, :, :1] + 0.5**0.5 * torch.randn(60, 3, 1, 6, 6)
    assert past_r2(torch.cat([noise[:, :, :1], later], 2)) == pytest.approx(0.5, abs=0.03)
    # The future is no past.
    moved = torch.cat([torch.randn(60, 3, 1, 6, 6), noise[:, :, :2]], 2)
    assert past_r2(moved.flip(2)) == pytest.approx(past_r2(moved), abs=0.05)
    with pytest.raises(ValueError, match="have no past"):
        past_r2(noise[:, :, :1])
