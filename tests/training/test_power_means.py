import math

import pytest
import torch

from ssvae.training.power_means import (
    LENGTHS,
    PowerMeans,
    coefficients,
    combined,
    exponent_of,
    write_snapshot,
)


@pytest.mark.parametrize("length", [0.02, 0.05, 0.1, 0.2])
def test_a_length_is_the_deviation_of_its_profile(length):
    g = exponent_of(length)
    t = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1e6
    weights = t**g / (t**g).sum()
    mean = float((weights * t).sum())
    assert math.sqrt(float((weights * (t - mean).square()).sum())) == pytest.approx(
        length, rel=1e-3
    )


def walk(steps: int) -> list[torch.nn.Parameter]:
    """A weight that drifts and shakes, step by step."""
    generator = torch.Generator().manual_seed(0)
    moves = 0.1 * torch.randn(steps, 3, generator=generator) + 0.01
    return [torch.nn.Parameter(w) for w in moves.cumsum(0)]


def direct(weights, length: float) -> torch.Tensor:
    """The mean under t^g, by its sum."""
    g, last = exponent_of(length), len(weights)
    t = torch.arange(1, last + 1, dtype=torch.float64) / last
    shares = t ** (g + 1) - (t - 1 / last) ** (g + 1)
    return (shares[:, None] * torch.stack([w.detach().double() for w in weights])).sum(0)


def test_means_are_the_sums_of_their_profiles():
    weights = walk(400)
    means = PowerMeans([weights[0]])
    for step, weight in enumerate(weights, 1):
        means.update([weight], step)
    for length, (mean,) in zip(LENGTHS, means.means, strict=True):
        torch.testing.assert_close(mean.double(), direct(weights, length), atol=1e-4, rtol=1e-4)


def test_other_lengths_come_out_of_snapshots(tmp_path):
    weights = walk(800)
    means = PowerMeans([weights[0]])
    for step, weight in enumerate(weights, 1):
        means.update([weight], step)
        if step % 50 == 0:
            write_snapshot(tmp_path, step, means.tensors(["w"]))
    last = weights[-1].detach().double()
    for length in (0.05, 0.07, 0.1, 0.15):
        expected = direct(weights, length)
        found = combined(tmp_path, length)["w"].double()
        assert (found - expected).norm() < 0.02 * (last - expected).norm(), length
    earlier = combined(tmp_path, 0.07, step=400)["w"].double()
    assert (earlier - direct(weights[:400], 0.07)).norm() < 0.05 * (last - earlier).norm()
    with pytest.raises(ValueError, match="has snapshots of steps 50, 100, .*, got 777"):
        combined(tmp_path, 0.07, step=777)
    with pytest.raises(ValueError, match="holds no snapshots .* --snapshots-every"):
        combined(tmp_path / "elsewhere", 0.07)
    with pytest.raises(ValueError, match=r"a length must be in \[0.01, 0.25\], got 0.5"):
        combined(tmp_path, 0.5)


def test_a_mean_that_was_kept_is_itself():
    parts = [(step, length) for step in (100, 200) for length in LENGTHS]
    shares = coefficients(parts, 200, LENGTHS[1])
    assert shares == pytest.approx([0, 0, 0, 1], abs=1e-6)
