import numpy as np
import pytest
import torch

from ssvae.statistics.intervals import frechet_interval, kernel_interval, mean_interval
from ssvae.statistics.kernel import kernel_distance


def test_a_mean_with_a_known_error():
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = mean_interval(values.tolist())
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.high - found.value == pytest.approx(half, rel=0.15)
    assert found.value - found.low == pytest.approx(half, rel=0.15)
    assert mean_interval([5.0]).low is None
    # Of a hundred files, four like clips each: as wide as of a hundred clips.
    alike, files = np.repeat(values[:100], 4), [str(i // 4) for i in range(400)]
    apart, together = mean_interval(alike.tolist()), mean_interval(alike.tolist(), files)
    assert together.high - together.low == pytest.approx(2 * (apart.high - apart.low), rel=0.15)
    assert mean_interval([1.0, 2.0], ["a", "a"]).low is None
    with pytest.raises(ValueError, match="at least one clip"):
        mean_interval([])


def test_a_distance_lies_in_its_interval():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(300, 4, generator=generator)
    b = torch.randn(200, 4, generator=generator) + 1
    found = frechet_interval(a, b, paired=False)
    assert found.value == pytest.approx(4, rel=0.3)  # |shift|^2
    assert found.low < found.value < found.high
    # Over fresh sets of clips the distance scatters about as the interval says.
    fresh = [
        frechet_interval(
            torch.randn(300, 4, generator=generator),
            torch.randn(200, 4, generator=generator) + 1,
            paired=False,
            draws=1,
        ).value
        for _ in range(200)
    ]
    assert found.high - found.low == pytest.approx(4 * np.std(fresh), rel=0.4)


def test_equal_features_and_pairs():
    a = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    found = frechet_interval(a, a, paired=True)
    assert found.value == pytest.approx(0, abs=1e-6)
    assert found.high == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="as many, got 50 and 49"):
        frechet_interval(a, a[1:], paired=True)


def test_a_kernel_distance_lies_in_its_interval():
    generator = torch.Generator().manual_seed(0)

    def sets(shift: float) -> tuple[torch.Tensor, torch.Tensor]:
        a = torch.randn(150, 4, generator=generator)
        return a, torch.randn(100, 4, generator=generator) + shift

    a, b = sets(0.5)
    found = kernel_interval(a, b)
    assert found.value == pytest.approx(kernel_distance(a, b))
    assert 0 < found.low < found.value < found.high
    # Over fresh sets of clips the distance scatters about as the interval says.
    fresh = [kernel_distance(*sets(0.5)) for _ in range(300)]
    assert found.high - found.low == pytest.approx(4 * np.std(fresh), rel=0.4)
    # Of sets that agree it is around 0, and below as often as above.
    covered = [kernel_interval(*sets(0.0), draws=200) for _ in range(40)]
    assert sum(each.low <= 0 <= each.high for each in covered) >= 32
    assert 8 < sum(each.value < 0 for each in covered) < 32


def test_copies_of_a_clip_are_no_pair():
    a, b = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0)).unbind()
    files = [str(i // 2) for i in range(12)]
    twice = kernel_interval(a, b, (files, files), paired=True)
    assert twice.high - twice.low > 0
    assert kernel_interval(a, b, (["one"] * 12, None)).low is None
    with pytest.raises(ValueError, match="as many, got 12 and 11"):
        kernel_interval(a, b[1:], paired=True)
