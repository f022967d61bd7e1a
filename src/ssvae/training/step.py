"""The update that every trainer's step ends with."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor


class Part(NamedTuple):
    """What is updated by the gradients that it has."""

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    max_grad_norm: float
    finite: torch.Tensor
    """Whether its loss is, a scalar of this process."""


class Update(NamedTuple):
    """What came of it, the same on every process."""

    norms: list[torch.Tensor]
    """Of each part's gradients, before clipping."""
    updated: list[bool]
    """Which parts were: those before the first whose loss or gradient was not finite anywhere."""
    signal: int
    """Of the signals that came to processes, the largest number; 0 for none."""


def update(
    accelerator: Accelerator, parts: Sequence[Part], scale: float = 1.0, signal: int = 0
) -> Update:
    """One update of each part.

    Gradients are taken times ``scale``, for those of several batches add up. ``signal`` is the
    number of one that came to this process. Here, once a step, the host waits for the device, and
    processes for each other.
    """
    norms = [_clipped(part, scale) for part in parts]
    bad = [~(torch.isfinite(n) & p.finite) for n, p in zip(norms, parts, strict=True)]
    flags = torch.stack([*bad, torch.full_like(bad[0], signal, dtype=torch.int)])
    if accelerator.num_processes > 1:
        gathered = accelerator.gather(flags[None])
        assert isinstance(gathered, torch.Tensor)
        flags = gathered.amax(0)
    each, signal = [True] * len(parts), 0
    if not bool((flags == 0).all()):
        *found, signal = flags.tolist()
        each = [not any(found[: i + 1]) for i in range(len(parts))]
    for part, updated in zip(parts, each, strict=True):
        for optimizer in part.optimizers:
            if updated:
                optimizer.step()
            optimizer.zero_grad()
    return Update(norms, each, signal)


def _clipped(part: Part, scale: float) -> torch.Tensor:
    """The norm of a part's gradients, which are shortened to its bound."""
    if scale != 1:
        gradients = [p.grad for p in part.model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, scale)
    norm = nn.utils.clip_grad_norm_(part.model.parameters(), part.max_grad_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
