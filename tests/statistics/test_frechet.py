import pytest
import torch

from ssvae.spectra import ChannelResult
from ssvae.statistics.frechet import feature_statistics, frechet_distance


def gaussian(mean, covariance) -> ChannelResult:
    return ChannelResult(torch.tensor(mean).double(), torch.tensor(covariance).double(), 100)


def test_closed_forms():
    a = gaussian([0.0, 0.0], [[4.0, 0.0], [0.0, 9.0]])
    b = gaussian([3.0, 4.0], [[1.0, 0.0], [0.0, 1.0]])
    # Diagonal: |m|^2 + sum (sigma_a - sigma_b)^2
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 4)
    assert frechet_distance(b, a) == pytest.approx(30)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_agrees_with_the_root_of_the_product():
    scipy = pytest.importorskip("scipy.linalg")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, generator=generator)
    y = torch.randn(200, 5, generator=generator) @ torch.randn(5, 5, generator=generator) + 1
    a, b = feature_statistics(x), feature_statistics(y)
    root = scipy.sqrtm((a.covariance @ b.covariance).numpy()).real
    naive = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace()
    assert frechet_distance(a, b) == pytest.approx(float(naive) - 2 * root.trace(), rel=1e-6)


def test_singular_covariances_are_safe():
    generator = torch.Generator().manual_seed(0)
    few = feature_statistics(torch.randn(3, 64, generator=generator))
    many = feature_statistics(torch.randn(500, 64, generator=generator))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, many) == pytest.approx(frechet_distance(many, few), rel=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        feature_statistics(torch.randn(1, 4))
    with pytest.raises(ValueError, match="one width"):
        frechet_distance(gaussian([0.0], [[1.0]]), gaussian([0.0, 0.0], [[1.0, 0], [0, 1.0]]))
