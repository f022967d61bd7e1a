"""Tensors from the host to a device, without the host waiting for it."""

from collections.abc import Sequence
from typing import Any

import torch


def moved(x: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """A tensor on a device. A GPU fetches it from pinned memory, while the host goes on."""
    device = torch.device(device)
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    pinned = x if x.is_pinned() else x.pin_memory()
    return pinned.to(device, non_blocking=True)


def constant(
    values: Sequence[Any], device: torch.device | str, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Numbers of the host as a tensor on a device, where ``torch.tensor`` would make it wait."""
    return moved(torch.tensor(values, dtype=dtype), device)
