"""The kernel distance between two sets of features, unbiased at any number of clips."""

import torch


class Kernels:
    """The kernel (x . y / D + 1)^3 of all pairs of two sets, (N, D) and (M, D), taken once.

    ``paired`` are sets whose rows belong together, such as clips and their reconstructions: what is
    made of a clip is no independent draw, so that those pairs are left out.

    Raises:
        ValueError: for features that are not (at least 2, D), of two widths, or paired and not as
            many.
    """

    def __init__(self, a_ND: torch.Tensor, b_MD: torch.Tensor, paired: bool = False):
        if a_ND.ndim != 2 or b_MD.ndim != 2 or min(len(a_ND), len(b_MD)) < 2:
            shapes = f"{tuple(a_ND.shape)} and {tuple(b_MD.shape)}"
            raise ValueError(f"features must be (at least 2, width), got {shapes}")
        if a_ND.shape[1] != b_MD.shape[1]:
            raise ValueError(
                f"features must have one width, got {a_ND.shape[1]} and {b_MD.shape[1]}"
            )
        if paired and len(a_ND) != len(b_MD):
            raise ValueError(f"paired features must be as many, got {len(a_ND)} and {len(b_MD)}")
        a, b = a_ND.double(), b_MD.double()
        self.paired = paired
        self.of_a, self.of_b, self.across = _kernel(a, a), _kernel(b, b), _kernel(a, b)

    def distance(
        self, times_a: torch.Tensor | None = None, times_b: torch.Tensor | None = None
    ) -> float:
        """The squared maximum mean discrepancy, of sets that hold each clip so many times (N,) and
        (M,), or once. A clip makes no pair with itself, however often it is there.
        """
        a = torch.ones(len(self.of_a)).double() if times_a is None else times_a.double()
        b = torch.ones(len(self.of_b)).double() if times_b is None else times_b.double()
        across, pairs = a @ self.across @ b, a.sum() * b.sum()
        if self.paired:
            across = across - (a * b * self.across.diagonal()).sum()
            pairs = pairs - (a * b).sum()
        across = across / pairs
        return float(_within(self.of_a, a) + _within(self.of_b, b) - 2 * across)


def kernel_distance(a_ND: torch.Tensor, b_MD: torch.Tensor, paired: bool = False) -> float:
    """The squared maximum mean discrepancy under the kernel (x . y / D + 1)^3 (arXiv 1801.01401).

    Unbiased, so that it may be below 0 where the two agree, and does not fall with the number of
    clips as the Fréchet distance does. On features of clips it is the KVD. For ``paired`` and what
    is refused see :class:`Kernels`.
    """
    return Kernels(a_ND, b_MD, paired).distance()


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _within(kernel: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The mean over pairs of two."""
    pairs = times.sum().square() - times.square().sum()
    return (times @ kernel @ times - (times.square() * kernel.diagonal()).sum()) / pairs
