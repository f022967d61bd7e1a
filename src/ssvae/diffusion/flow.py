"""Flow matching: the straight path from data to noise, its times and its loss.

x_t = (1 - t) x + t n, with n standard normal; the model learns the velocity n - x (rectified flow,
arXiv 2209.03003; logit-normal times and the shift, arXiv 2403.03206).
"""

import math

import torch

BASE_TOKENS = 1024
BINS = 5
"""Equal parts of [0, 1] in which the loss is reported."""


def shift_for(tokens: int) -> float:
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
