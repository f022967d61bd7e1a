import pytest
import torch

from ssvae.statistics.kernel import kernel_distance


def test_it_is_the_mean_over_pairs():
    torch.manual_seed(0)
    a, b = torch.randn(4, 3), torch.randn(5, 3)

    def k(x, y):
        return float(x @ y / 3 + 1) ** 3

    inside_a = sum(k(a[i], a[j]) for i in range(4) for j in range(4) if i != j) / 12
    inside_b = sum(k(b[i], b[j]) for i in range(5) for j in range(5) if i != j) / 20
    across = sum(k(x, y) for x in a for y in b) / 20
    assert kernel_distance(a, b) == pytest.approx(inside_a + inside_b - 2 * across, rel=1e-5)


def test_it_is_unbiased_and_sees_a_shift():
    torch.manual_seed(1)
    of_same = [kernel_distance(torch.randn(32, 4), torch.randn(32, 4)) for _ in range(200)]
    mean = sum(of_same) / 200
    error = float(torch.tensor(of_same).std()) / 200**0.5
    assert abs(mean) < 3 * error
    assert kernel_distance(torch.randn(256, 4), torch.randn(256, 4) + 0.5) > 10 * error


def test_pairs_are_unbiased_too():
    """Each row of one set is made of a row of the other, and both are draws of one distribution."""
    torch.manual_seed(2)
    found, naive = [], []
    for _ in range(200):
        a = torch.randn(24, 4)
        b = 0.8 * a + 0.6 * torch.randn(24, 4)
        found.append(kernel_distance(a, b, paired=True))
        naive.append(kernel_distance(a, b))
    error = float(torch.tensor(found).std()) / 200**0.5
    assert abs(sum(found) / 200) < 3 * error
    assert sum(naive) / 200 < -5 * error
    with pytest.raises(ValueError, match="as many, got 4 and 3"):
        kernel_distance(torch.zeros(4, 2), torch.zeros(3, 2), paired=True)


@pytest.mark.parametrize("shapes", [((1, 3), (4, 3)), ((4, 3), (4, 2)), ((4,), (4, 2))])
def test_what_does_not_fit_is_refused(shapes):
    with pytest.raises(ValueError, match="features must"):
        kernel_distance(*(torch.zeros(shape) for shape in shapes))
