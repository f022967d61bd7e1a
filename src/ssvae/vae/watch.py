"""Does LCR do anything? A look at the first steps of a run, for weights that fit another length."""

import torch

STEPS = 500  # after which a run is judged, or twice its warm-up if that is longer
PARTS = 5  # of these steps, whose first and last are compared
MOVED = 0.01  # of a correlation


class CorrelationWatch:
    """Hears a run's local correlations, and tells once where they have not risen.

    Args:
        steps: of the run.
        warmup: steps of them in which the rate rises.
        threshold: of LCR; a correlation near it need not rise.
        weight: of LCR, for the message.
    """

    def __init__(self, steps: int, warmup: int, threshold: float, weight: float):
        self.threshold, self.weight = threshold, weight
        self.last = min(max(STEPS, 2 * warmup), steps)
        self._heard: list[torch.Tensor] = []

    def hear(self, step: int, correlation: torch.Tensor) -> str | None:
        """Add the correlation of a step, which counts from 1; what to warn of after the last one.

        A run that goes on from a later step is not judged.
        """
        if step != len(self._heard) + 1 or step > self.last:
            return None
        self._heard.append(correlation.detach())
        if step < self.last:
            return None
        size = max(1, self.last // PARTS)
        begin, now = (
            float(torch.stack(part).mean()) for part in (self._heard[:size], self._heard[-size:])
        )
        self._heard.clear()
        self.last = 0
        if now >= self.threshold - MOVED or now >= begin + MOVED:
            return None
        return (
            f"LCR has not moved the local correlation in {step} steps ({begin:.3f} at first, {now:.3f} now) with weight "
            f"{self.weight:g}: about .002 fits 100,000 steps and more, .01 ten thousand, .1 a thousand (--lcr.weight)"
        )
