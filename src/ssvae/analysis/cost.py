"""What a VAE costs: time and memory of encoding and decoding one clip."""

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssvae.analysis.subject import Subject

ROUNDS, LEAST, ENOUGH = 5, 0.5, 10.0  # calls that are timed, and seconds: at least, at most


@dataclass(frozen=True)
class Cost:
    """Of one clip at a time, after a first call that does not count."""

    encode_seconds: float
    """Median over calls."""
    decode_seconds: float
    """Median over calls."""
    encode_megabytes: float | None
    """The most memory that a call takes beyond weights and input; None where unknown."""
    decode_megabytes: float | None
    """The same of decoding."""
    frames: int
    """Of the clip."""
    device: str
    """Where, in what number format, and on a CPU with how many threads."""


@torch.no_grad()
def measure_cost(vae: Subject, clip: torch.Tensor) -> Cost:
    """Time and memory that a VAE takes to encode a clip (1, 3, T, H, W), and to decode it."""
    device = clip.device
    z = vae.encode(clip)
    encode = _measured(lambda: vae.encode(clip), device)
    decode = _measured(lambda: vae.decode(z), device)
    where = "CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    number_format = str(clip.dtype).removeprefix("torch.")
    return Cost(
        encode_seconds=encode[0],
        decode_seconds=decode[0],
        encode_megabytes=encode[1],
        decode_megabytes=decode[1],
        frames=clip.shape[2],
        device=f"{where}, {number_format}{threads}",
    )


def _measured(call: Callable[[], Any], device: torch.device) -> tuple[float, float | None]:
    """Median seconds, and the most megabytes beyond what was there."""
    call()
    memory = _peak(call, device)
    seconds: list[float] = []
    while (len(seconds) < ROUNDS or sum(seconds) < LEAST) and sum(seconds) < ENOUGH:
        _wait(device)
        began = time.perf_counter()
        call()
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), memory


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(call: Callable[[], Any], device: torch.device) -> float | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    reset = Path("/proc/self/clear_refs")
    if not sys.platform.startswith("linux") or not reset.exists():
        return None
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else what was freed before hides what is taken now
        reset.write_text("5")  # the peak begins anew
    except (OSError, AttributeError):  # no permission, or another C library
        return None
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> float:
    """A field of this process's memory, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"Linux tells {field} of every process")
