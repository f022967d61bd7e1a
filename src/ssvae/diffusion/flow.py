"""Flow matching: the straight path from data to noise, its times and its loss.

x_t = (1 - t) x + t n, with n standard normal; the model learns the velocity n - x (rectified flow,
arXiv 2209.03003; logit-normal times and the shift, arXiv 2403.03206).
"""

import math
from functools import lru_cache
from statistics import NormalDist

import torch

BASE_TOKENS = 1024
BINS = 5
"""Equal parts of [0, 1] in which the loss is reported."""


def shift_for(tokens: float) -> float:
    """The shift of times towards noise for a sequence of that many tokens.

    sqrt(tokens / 1024), at least 1: more tokens tell more of a noisy clip, so more noise hides as
    much (arXiv 2403.03206, eq. 23). 32 760 tokens, Wan's 81 frames at 480 p, get 5.7; its
    published shifts are 3 and 5.
    """
    return max(1.0, math.sqrt(tokens / BASE_TOKENS))


def shifted(t: torch.Tensor, shift: float) -> torch.Tensor:
    """Times in [0, 1] moved towards 1 (noise) by ``shift``, as the scheduler does in sampling."""
    return shift * t / (1 + (shift - 1) * t)


def draw_times(
    count: int, mean: float, std: float, shift: float, generator: torch.Generator
) -> torch.Tensor:
    """Logit-normal times (count,), shifted."""
    normal = torch.randn(count, generator=generator, device=generator.device)
    return shifted(torch.sigmoid(mean + std * normal), shift)


def noisy(x: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """x_t for data and noise (B, ...) and times (B,)."""
    t = t.view(-1, *[1] * (x.ndim - 1))
    return (1 - t) * x + t * noise


def loss_by_time(losses: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Sums of losses (B,) and their counts in five equal parts of [0, 1]: (2, 5)."""
    bins = (t * BINS).long().clamp(max=BINS - 1)
    sums = torch.zeros(2, BINS, device=losses.device)
    sums[0].scatter_add_(0, bins, losses.float())
    sums[1].scatter_add_(0, bins, torch.ones_like(losses, dtype=torch.float32))
    return sums


def min_snr_weights(
    t: torch.Tensor, gamma: float, mean: float, std: float, shift: float
) -> torch.Tensor:
    """Weights (B,) of the velocity's error at these times, of mean 1 over the times' distribution.

    Min-SNR (arXiv 2303.09556) weighs the error of the data by min(SNR, gamma), with SNR = ((1 - t)
    / t)² here. The data's error is t times the velocity's: together min((1 - t)², gamma t²).
    """
    return _min_snr(t, gamma) / _mean_min_snr(gamma, mean, std, shift)


def _min_snr(t: torch.Tensor, gamma: float) -> torch.Tensor:
    return torch.minimum((1 - t).square(), gamma * t.square())


@lru_cache(16)
def _mean_min_snr(gamma: float, mean: float, std: float, shift: float) -> float:
    """Over logit-normal times, shifted: at the middles of a thousand equal shares of them."""
    quantiles = [NormalDist(mean, std).inv_cdf((i + 0.5) / 1000) for i in range(1000)]
    times = shifted(torch.sigmoid(torch.tensor(quantiles, dtype=torch.float64)), shift)
    return float(_min_snr(times, gamma).mean())


def nearest_noise(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The same noise (B, ...), dealt out so that the sum of squared distances to the data is least.

    Minibatch optimal transport (arXiv 2302.00482): straighter paths, so that less of the velocity
    is undecided. A GPU waits for the host here.
    """
    from scipy.optimize import linear_sum_assignment  # a quarter of a second

    distances = torch.cdist(x.flatten(1).float(), noise.flatten(1).float()).square()
    _, order = linear_sum_assignment(distances.cpu().numpy())
    return noise[torch.from_numpy(order).to(noise.device)]


def others(count: int, generator: torch.Generator) -> torch.Tensor:
    """For each of ``count`` clips another, by number (count,); of one clip itself."""
    if count < 2:
        return torch.zeros(count, dtype=torch.int64, device=generator.device)
    device = generator.device
    steps = torch.randint(1, count, (count,), generator=generator, device=device)
    return (torch.arange(count, device=device) + steps) % count
