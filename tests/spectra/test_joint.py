import math

import pytest
import torch

from ssvae.spectra.joint import JointSpectrum


def coloured(clips: int = 400) -> torch.Tensor:
    """Latents of two strong channels that move together and one that is weak noise, with means."""
    torch.manual_seed(0)
    slow = torch.randn(clips, 1, 1, 1, 1).expand(clips, 1, 2, 3, 4)
    noise = torch.randn(clips, 1, 2, 3, 4)
    return torch.cat([3 * slow + 7, -slow + 1, 0.1 * noise], 1).double()


def test_white_noise_has_flat_modes():
    torch.manual_seed(0)
    result = JointSpectrum().update(5 + 3 * torch.randn(4000, 4, 2, 3, 3)).result()
    assert result.variances.mean().item() == pytest.approx(1, abs=1e-9)
    assert result.effective_share == pytest.approx(1, abs=0.01)
    assert result.concentration(0.25) == pytest.approx(0.25, abs=0.02)
    assert result.irreducible_loss() == pytest.approx(math.pi / 2, abs=0.01)


def test_modes_of_known_latents():
    result = JointSpectrum().update(coloured()).result()
    # One mode at f = 0 has all of two channels, at variance 2 F; the third is white.
    assert result.sorted[0].item() == pytest.approx(2 * 24, rel=0.01)
    assert result.sorted[1:25].mean().item() == pytest.approx(1, abs=0.05)
    assert result.sorted[25:].max().item() == pytest.approx(0, abs=0.01)


def test_the_loss_is_that_of_the_best_estimate():
    """Against the regression of the velocity on x_t over many draws of a Gaussian mode."""
    torch.manual_seed(0)
    z = torch.randn(200_000, 2, 1, 1, 2, dtype=torch.float64)
    z[:, 1] = z[:, 0] + 0.5 * z[:, 1]
    result = JointSpectrum().update(z).result()
    x = (z - z.mean((0, 2, 3, 4), keepdim=True)) / z.std((0, 2, 3, 4), keepdim=True)
    x = x[..., 0].flatten(1)  # both channels at one place
    losses = []
    for quantile in (torch.arange(200, dtype=torch.float64) + 0.5) / 200:
        t = torch.sigmoid(0.7 + 1.2 * math.sqrt(2) * torch.erfinv(2 * quantile - 1))
        noise = torch.randn(20_000, 2, dtype=torch.float64)
        seen, velocity = (1 - t) * x[:20_000] + t * noise, noise - x[:20_000]
        weights = torch.linalg.lstsq(seen, velocity).solution
        losses.append((velocity - seen @ weights).square().mean())
    expected = torch.stack(losses).mean().item()
    assert result.irreducible_loss(0.7, 1.2) == pytest.approx(expected, rel=0.01)


def test_uniform_times_by_sums():
    result = JointSpectrum().update(coloured()).result()
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    expected = [
        (s / ((1 - t).square() * s + t.square())).mean() for s in result.variances.flatten()[::7]
    ]
    closed = math.pi / 2 * result.variances.flatten()[::7].sqrt()
    torch.testing.assert_close(closed, torch.stack(expected), atol=1e-3, rtol=1e-3)


def test_the_strongest_modes():
    z = coloured()
    result = JointSpectrum().update(z).result()
    torch.testing.assert_close(result.strongest(z, 1.0), z, atol=1e-6, rtol=0)
    one = result.strongest(z, 1 / 72)  # the slow one
    torch.testing.assert_close(one[:, :2], z[:, :2], atol=0.2, rtol=0)
    torch.testing.assert_close(one[:, 2], torch.zeros_like(one[:, 2]), atol=0.1, rtol=0)


def test_merging_and_batches_do_not_matter():
    z = coloured(90)
    whole = JointSpectrum().update(z).result()
    first, second = JointSpectrum().update(z[:20]), JointSpectrum().update(z[20:50]).update(z[50:])
    merged = first.merge(second).merge(JointSpectrum()).result()
    torch.testing.assert_close(merged.variances, whole.variances)
    torch.testing.assert_close(JointSpectrum().merge(first).result().variances, whole.variances)


def test_dead_channels_have_no_mode():
    z = torch.cat([coloured(50), torch.full((50, 1, 2, 3, 4), 2.5)], 1)
    result = JointSpectrum().update(z).result()
    assert result.std[3] == 0
    torch.testing.assert_close(result.strongest(z, 1.0), z, atol=1e-6, rtol=0)


def test_errors():
    with pytest.raises(ValueError, match="call update"):
        JointSpectrum().result()
    with pytest.raises(ValueError, match="that vary"):
        JointSpectrum().update(torch.ones(3, 2, 1, 2, 2)).result()
    seen = JointSpectrum().update(torch.randn(3, 2, 1, 2, 2))
    with pytest.raises(ValueError, match="of one size"):
        seen.update(torch.randn(3, 2, 1, 2, 3))
    with pytest.raises(ValueError, match="of one size"):
        seen.merge(JointSpectrum().update(torch.randn(3, 2, 1, 2, 3)))
