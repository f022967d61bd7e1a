"""The update that every trainer's step ends with."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor


def update(
    accelerator: Accelerator,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    max_grad_norm: float,
    finite: torch.Tensor,
    scale: float = 1.0,
    allowed: bool = True,
) -> tuple[torch.Tensor, bool]:
    """One update by the gradients that there are: their norm before clipping, and whether it was
    made.

    It is not where the norm or, by ``finite``, a loss is not finite on any process, nor where it is
    not ``wanted``. Gradients are taken times ``scale``, for those of several batches add up. Here,
    once a step, the host waits for the device.
    """
    if scale != 1:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, scale)
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    good = torch.isfinite(norm) & finite
    if accelerator.num_processes > 1:
        reduced = accelerator.reduce(good.float(), "mean")
        assert isinstance(reduced, torch.Tensor)
        good = reduced == 1
    updated = allowed and bool(good)
    for optimizer in optimizers:
        if updated:
            optimizer.step()
        optimizer.zero_grad()
    return norm, updated
