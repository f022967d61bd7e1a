"""The kernel distance between two sets of features, unbiased at any number of clips."""

import torch


def kernel_distance(a_ND: torch.Tensor, b_MD: torch.Tensor) -> float:
    """The squared maximum mean discrepancy under the kernel (x . y / D + 1)^3 (arXiv 1801.01401).

    Unbiased, so that it may be below 0 where the two agree, and does not fall with the number of
    clips as the Fréchet distance does. On features of clips it is the KVD.

    Raises:
        ValueError: for features that are not (at least 2, D), or of two widths.
    """
    if a_ND.ndim != 2 or b_MD.ndim != 2 or min(len(a_ND), len(b_MD)) < 2:
        shapes = f"{tuple(a_ND.shape)} and {tuple(b_MD.shape)}"
        raise ValueError(f"features must be (at least 2, width), got {shapes}")
    if a_ND.shape[1] != b_MD.shape[1]:
        raise ValueError(f"features must have one width, got {a_ND.shape[1]} and {b_MD.shape[1]}")
    a, b = a_ND.double(), b_MD.double()

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: torch.Tensor) -> torch.Tensor:
        """The mean over pairs of two."""
        k = kernel(x, x)
        return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())
