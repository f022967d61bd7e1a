"""Learning rates over the steps of a run."""

import math


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
