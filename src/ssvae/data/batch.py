"""What every source of data gives: clips with captions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from ssvae.transfer import moved


@dataclass(frozen=True)
class Batch:
    """Clips (B, C, T, H, W) with a caption each (empty where unknown)."""

    video: torch.Tensor
    """Floats in [-1, 1]; or bytes, as files have them, which are a quarter as large to move."""
    captions: list[str]
    names: list[str] = field(default_factory=list)
    """Where each clip comes from, for messages; empty where the source does not tell."""
    moments: torch.Tensor | None = None
    """A posterior's parameters for each clip (B, 2 z, t, h, w), where a cache holds them."""

    def pinned(self) -> "Batch":
        """In memory that a GPU fetches by itself; copied there by the thread that calls."""
        held = {name: getattr(self, name) for name in ("video", "moments")}
        on_host = {k: x for k, x in held.items() if x is not None and x.device.type == "cpu"}
        return replace(self, **{name: x.pin_memory() for name, x in on_host.items()})

    def on(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """The clips on a device, floats in [-1, 1]."""
        return as_floats(moved(self.video, device))


def as_floats(video: torch.Tensor) -> torch.Tensor:
    """Bytes as floats in [-1, 1]; floats as they are."""
    return video if video.is_floating_point() else video.float().mul_(1 / 127.5).sub_(1)


class Source(Protocol):
    """A set of clips in which each index names one clip, the same in every process and run.

    ``read_ahead`` says that batches come from files, so that a thread should fetch them early. Such
    a source must do its arithmetic in NumPy: a second thread that starts torch's parallel kernels
    takes the cores from the trainer's (a quarter of a step's time, measured on two cores).
    """

    @property
    def read_ahead(self) -> bool:
        """Whether a thread should fetch batches early."""
        ...

    def batch(self, indices: Sequence[int]) -> Batch:
        """The clips of these indices. Any integer of at least 0 is an index."""
        ...

    def indices(self, number: int, size: int, process: int, processes: int) -> Sequence[int]:
        """Those of a process's batch of this number, from 0; no two processes share one."""
        ...


def in_turn(number: int, size: int, process: int, processes: int) -> Sequence[int]:
    """Indices for which processes take turns: together their batches are one batch of all."""
    start = (number * processes + process) * size
    return range(start, start + size)


def in_batches(clips: torch.Tensor | Iterable[torch.Tensor]) -> Iterable[torch.Tensor]:
    """Clips given as one tensor (B, C, T, H, W) or as batches of them, as batches."""
    return clips.split(8) if isinstance(clips, torch.Tensor) else clips


def check_finite(video: torch.Tensor, where: str) -> torch.Tensor:
    """``video`` itself, or a ValueError where it holds NaN or infinity."""
    bad = ~torch.isfinite(video.flatten(1)).all(1)
    if bad.any():
        raise ValueError(
            f"clips must hold finite numbers, but clip {int(bad.nonzero()[0])} of {where} holds "
            "NaN or infinity: leave a broken clip out; if a model made it, its weights are broken "
            "or its number format overflows"
        )
    return video
