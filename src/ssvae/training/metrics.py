"""What a step tells: kept where it was computed, and read out for many steps at once.

To read a number off a GPU the host waits for all that was asked of it before.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator


class Ratio(NamedTuple):
    """A mean whose parts lie on several processes, and so are added up before they are divided."""

    total: torch.Tensor
    number: torch.Tensor


Value = torch.Tensor | Ratio | float
"""A scalar of this process, of which the mean over processes is told; or a number, the same on
all."""


class StepOutcome(NamedTuple):
    """What a trainer's step gives."""

    metrics: Mapping[str, Value]
    updated: bool
    """Whether it changed the weights: not where a loss or gradient was not finite on any
    process."""
    signal: int = 0
    """The largest number of the signals that came to processes; 0 for none."""


def read_out(
    accelerator: Accelerator, steps: Sequence[Mapping[str, Value]]
) -> list[dict[str, float]]:
    """The metrics of some steps as numbers, means over processes; to be called on every process."""
    parts = [value for metrics in steps for value in metrics.values()]
    ratios = [
        value if isinstance(value, Ratio) else Ratio(value, torch.ones_like(value))
        for value in parts
        if not isinstance(value, int | float)
    ]
    values: list[float] = []
    if ratios:
        pairs = torch.stack([torch.stack(r).detach().float() for r in ratios])
        totals, numbers = accelerator.reduce(pairs, "sum").unbind(1)  # type: ignore[union-attr]
        values = (totals / numbers).tolist()
    left = iter(values)
    return [
        {name: v if isinstance(v, int | float) else next(left) for name, v in metrics.items()}
        for metrics in steps
    ]
