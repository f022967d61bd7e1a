"""How fast a run is, and what it waits for: a row every so many steps in ``speed.jsonl``.

Apart from ``metrics.jsonl``, which is the same, bit for bit, however fast and often broken the run.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ssvae.training.devices import peak_of

T = TypeVar("T")


class _Operations(TorchDispatchMode):
    """Adds up operations, and leaves all that runs as it is.

    FlopCounterMode decomposes what it has no formula for, so that a step under it rounds otherwise.
    Compiled parts stay compiled; their products and convolutions come by here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(getattr(func, "overloadpacket", None))
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


COUNTS_COMPILED = hasattr(TorchDispatchMode, "ignore_compile_internals")
"""Whether compiled parts stay compiled while they are counted, as they do from torch 2.9 on."""


def counted(work: Callable[[], T]) -> tuple[T, float]:
    """What some work gives, and the operations that torch counts in it."""
    with _Operations() as operations:
        result = work()
    return result, float(operations.total)


class SpeedLog:
    """Times the steps of a run on the main process.

    Args:
        path: the file of rows, added to.
        clips: that all processes together take a step.
    """

    def __init__(self, path: Path, clips: int, accelerator: Accelerator):
        self.path, self.clips, self.accelerator = path, clips, accelerator
        self.device = accelerator.device
        self.operations: float | None = None
        """Of a step on one process, counted by torch; None where they were not counted."""
        self._steps, self._waited, self._began = 0, 0.0, time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def waited_for(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, the time until each comes being counted."""
        left = iter(batches)
        while True:
            began = time.perf_counter()
            try:
                batch = next(left)
            except StopIteration:
                return
            self._waited += time.perf_counter() - began
            yield batch

    def counted(self, step: Callable[[], T]) -> T:
        """A step whose operations are counted, which takes the host a little longer."""
        outcome, self.operations = counted(step)
        return outcome

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is no step: validating, saving."""
        began = time.perf_counter()
        yield
        self._began += time.perf_counter() - began

    def step(self) -> None:
        """A step is done."""
        self._steps += 1

    def write(self, step: int) -> dict[str, float]:
        """The row since the last, up to this step; what was measured is told, and no more."""
        now = time.perf_counter()
        seconds, steps = now - self._began, self._steps
        waited, self._steps, self._waited, self._began = self._waited, 0, 0.0, now
        if not steps or not self.accelerator.is_main_process:
            return {}
        row: dict[str, Any] = {
            "step": step,
            "steps_per_second": steps / seconds,
            "clips_per_second": steps * self.clips / seconds,
            "waited_for_data": waited / seconds,
        }
        if self.device.type == "cuda":
            row["peak_gigabytes"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        if self.operations is not None:
            done = self.operations * steps / seconds
            row["teraflops"] = done / 1e12
            if peak := peak_of(self.device, self.accelerator.mixed_precision == "bf16"):
                row["share_of_peak"] = done / peak
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        return row
