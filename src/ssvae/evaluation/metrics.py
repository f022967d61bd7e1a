"""Metrics of the user's own: a function of clips and reconstructions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ssvae.models.names import FACTORY
from ssvae.storage.functions import code_of, load_function

WAYS = ("higher", "lower")
"""What a function's attribute ``better`` may say of its numbers."""


@dataclass(frozen=True)
class Metric:
    """A number for each clip, from clips and reconstructions (B, 3, T, H, W) in [-1, 1]."""

    name: str
    function: Callable[[torch.Tensor, torch.Tensor], Any]
    described: str
    """What was computed, so that evaluations by other functions do not compare."""

    def __call__(self, clips: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        """A number for each clip (B,); a ValueError where the function gives something else."""
        try:
            values = torch.as_tensor(self.function(clips, reconstructions)).detach().float().cpu()
        except Exception as error:
            raise ValueError(
                f"the metric {self.name} fails ({type(error).__name__}: {error}): it takes clips "
                "and reconstructions, and returns a number a clip; --debug shows where"
            ) from error
        if values.shape != (len(clips),) or not torch.isfinite(values).all():
            raise ValueError(
                f"the metric {self.name} must give a finite number for each of {len(clips)} clips, "
                f"got {values.tolist() if values.numel() < 9 else tuple(values.shape)}"
            )
        return values


def load_metric(name: str) -> Metric:
    """A metric by ``module:function`` or ``file.py:function``; a ValueError where there is none."""
    match = FACTORY.fullmatch(name)
    if match is None or match["more"]:
        raise ValueError(f"a metric is named module:function or file.py:function, got {name}")
    function = load_function(match["source"], match["name"])
    described = f"the function {match['name']}, sha256 {code_of(function)}"
    better = getattr(function, "better", None)
    if better not in (None, *WAYS):
        raise ValueError(f"{name}: better must be {' or '.join(WAYS)}, got {better!r}")
    if better:
        described += f"; {better} is better"
    return Metric(match["name"], function, described)
