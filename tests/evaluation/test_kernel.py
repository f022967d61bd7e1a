import pytest
import torch

from ssvae.evaluation.kernel import kernel_distance


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


@pytest.mark.parametrize("shapes", [((1, 3), (4, 3)), ((4, 3), (4, 2)), ((4,), (4, 2))])
def test_what_does_not_fit_is_refused(shapes):
    with pytest.raises(ValueError, match="features must"):
        kernel_distance(*(torch.zeros(shape) for shape in shapes))
