"""The rows that a run writes: metrics, speed, validation; in files, a tracker, and to who
listens.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ssvae.storage.files import write_text
from ssvae.storage.runs import sample_film
from ssvae.training.metrics import Value, read_out
from ssvae.training.tracking import Tracking

logger = logging.getLogger(__name__)

OnStep = Callable[[int, dict[str, float]], Any]
"""Hears of a step, its metrics and the last speed: at once on a CPU, elsewhere of some steps
together."""


class RunLog:
    """The metrics of steps, in a file, a tracker, and the ears of who started the run."""

    def __init__(
        self, out: Path, accelerator: Accelerator, tracking: Tracking, on_step: OnStep | None
    ):
        self.out, self.accelerator, self.tracking = out, accelerator, tracking
        self.on_step = on_step if accelerator.is_main_process else None
        self._waiting: list[tuple[int, Mapping[str, Value]]] = []
        self._speed: dict[str, float] = {}

    def add(self, step: int, metrics: Mapping[str, Value]) -> None:
        """A step is done; its metrics wait where they are."""
        self._waiting.append((step, metrics))

    def write(self) -> None:
        """Read out what waits; to be called on every process."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        rows = read_out(self.accelerator, [metrics for _, metrics in waiting])
        numbered = [(step, row) for (step, _), row in zip(waiting, rows, strict=True)]
        if self.accelerator.is_main_process:
            with open(self.out / "metrics.jsonl", "a") as file:
                file.writelines(_row(step, row) for step, row in numbered)
        for step, row in numbered:
            self.tracking.log({f"train/{name}": value for name, value in row.items()}, step)
            if self.on_step is not None:
                self.on_step(step, self._speed | row)

    def write_speed(self, step: int, row: dict[str, float]) -> None:
        """How fast the steps since the last were."""
        self._speed = row
        self.tracking.log({f"speed/{name}": value for name, value in row.items()}, step)

    def write_figures(self, step: int, figures: dict[str, float]) -> None:
        """What validation gave, with its film."""
        if not self.accelerator.is_main_process:
            return
        with open(self.out / "validation.jsonl", "a") as file:
            file.write(_row(step, figures))
        self.tracking.log({f"validation/{name}": v for name, v in figures.items()}, step)
        self.tracking.film("reconstructions", sample_film(self.out, step), step)


def _row(step: int, values: dict[str, float]) -> str:
    finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
    return json.dumps({"step": step, **finite}) + "\n"


def drop_rows_after(path: Path, step: int) -> None:
    """Keep the lines up to ``step``: those after the checkpoint are trained, and written, again.

    A line at the end that is not whole is what a killed run was writing. Others that do not read
    stay as they are, and are told.
    """
    if not path.exists():
        return
    kept, lines = [], path.read_text(errors="surrogateescape").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            late = json.loads(line)["step"] > step
        except (ValueError, TypeError, KeyError):
            if number == len(lines) and not line.endswith("\n"):
                break
            logger.warning("%s: line %d does not read; it is left as it is", path, number)
            late = False
        if not late:
            kept.append(line.removesuffix("\n") + "\n")
    write_text(path, "".join(kept))
