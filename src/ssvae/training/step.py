"""What every trainer's step has in common: the update, the terms, the learning rate."""

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import nn


def warmup_cosine(step: int, peak: float, final: float, warmup_steps: int, end: int) -> float:
    """Linear warm-up from ``final`` to ``peak``, then a cosine back; ``step`` counts from 1."""
    span = peak - final
    if step <= warmup_steps:
        return final + span * step / warmup_steps
    done = (step - warmup_steps) / max(end - warmup_steps, 1)
    return final + span * 0.5 * (1 + math.cos(math.pi * min(done, 1)))


def warmup_cooldown(step: int, warmup_steps: int, end: int, cooldown_steps: int) -> float:
    """Share of the peak rate: a linear rise, then constant, then a linear fall to zero.

    The fall takes the last ``cooldown_steps`` steps before ``end``; ``step`` counts from 1.
    """
    rise = step / warmup_steps if step <= warmup_steps else 1.0
    return min(rise, (end + 1 - step) / (cooldown_steps + 1), 1.0)


def update(
    accelerator: Accelerator,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    loss: torch.Tensor,
    max_grad_norm: float,
) -> torch.Tensor:
    """Backward pass and one update; the gradient's norm before it was clipped.

    Where the loss or its gradient is not finite on any process, none of them updates.
    """
    finite = everywhere(accelerator, torch.isfinite(loss))
    if finite:
        accelerator.backward(loss)
    return apply(accelerator, model, optimizers, max_grad_norm, finite)


def apply(
    accelerator: Accelerator,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    max_grad_norm: float,
    wanted: bool,
    share: float = 1.0,
) -> torch.Tensor:
    """The update for the gradients that there are, and their norm; NaN where it is not wanted.

    They are taken times ``share``, for those of several batches add up. Gradients are the same on all processes, so all agree on whether they are finite.
    """
    grad_norm = torch.tensor(math.nan, device=accelerator.device)
    if wanted:
        if share != 1:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(share)
        norm = accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
        assert norm is not None
        grad_norm = norm
        if torch.isfinite(grad_norm):
            for optimizer in optimizers:
                optimizer.step()
    for optimizer in optimizers:
        optimizer.zero_grad()
    return grad_norm


def averaged(accelerator: Accelerator, terms: dict[str, torch.Tensor]) -> dict[str, float]:
    """Scalars, each its mean over processes."""
    values = torch.stack([value.detach().float() for value in terms.values()])
    values = accelerator.reduce(values, "mean").tolist()  # type: ignore[union-attr]
    return dict(zip(terms, values, strict=True))


def everywhere(accelerator: Accelerator, condition: torch.Tensor) -> bool:
    """Whether a condition holds on every process."""
    holds = accelerator.reduce(condition.float(), "mean")
    return bool(holds == 1)
