"""Where a run computes, in which number format, and the one policy for precision.

float32 means float32: TensorFloat-32 stays off, so that a GPU agrees with the CPU to rounding (1e-4
of a clip's range; tests/gpu holds it to that). bfloat16 is mixed precision: weights, their updates,
norms and losses in float32, products in bfloat16, and results that agree within 3 %. In training
kernels are chosen by measuring (cuDNN's benchmark), which may change results in the last bit from
run to run; ``repeat_bit_for_bit`` takes those that repeat, at a price. On ROCm measuring may hang,
and where sizes change it costs more than it gives, so that elsewhere it is off unless it is asked
for.
"""

import logging
import os
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

log = logging.getLogger(__name__)

# One process may encode or embed for hours while others wait, but no step takes this long.
PATIENT, IN_STEPS = timedelta(days=1), timedelta(minutes=30)

# Multiplications and additions a second, dense, as the makers state them: bfloat16 and float32.
PEAKS = {
    "H100 PCIe": (756e12, 51e12),
    "H100": (989e12, 67e12),
    "H200": (989e12, 67e12),
    "B200": (2250e12, 75e12),
    "A100": (312e12, 19.5e12),
    "L40S": (362e12, 91.6e12),
    "RTX 4090": (165e12, 82.6e12),
}


def make_accelerator(
    device: str = "auto",
    dtype: str = "float32",
    training: bool = False,
    benchmark: bool | None = None,
) -> Accelerator:
    """One process or many, as ``accelerate launch`` or ``torchrun`` started it.

    ``device`` is "auto" (a GPU where torch sees one), "cpu" or "cuda"; ``dtype`` is "float32" or
    "bfloat16" (mixed precision, weights in float32). ``benchmark`` lets cuDNN choose kernels by
    measuring them; where None it does in ``training``, but not on ROCm.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no GPU: use --device cpu")
    precision = {"float32": "no", "bfloat16": "bf16"}[dtype]
    configured = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if configured not in ("no", precision):
        raise ValueError(
            f"accelerate is configured for mixed_precision {configured}, but --dtype is {dtype}: "
            "give --dtype bfloat16 for bf16, or configure no"
        )
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if benchmark is None:
        benchmark = training and torch.version.hip is None
    repeat = torch.are_deterministic_algorithms_enabled()
    torch.backends.cudnn.benchmark = benchmark and not repeat
    patience = InitProcessGroupKwargs(timeout=PATIENT)
    # Left to itself where there is no GPU, accelerate takes each of torchrun's processes for the
    # only one.
    cpu = device == "cpu" or not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[patience])
    if precision == "bf16" and accelerator.device.type == "cpu" and accelerator.is_main_process:
        _warn_where_emulated()
    if accelerator.device.type == "cuda" and accelerator.is_main_process:
        _warn_of_faults()
    return accelerator


def known_faults(torch_version: str, cudnn: int | None) -> list[str]:
    """What is known to be wrong with these versions on a GPU, each with its remedy.

    ``cudnn`` is a number such as 91500 for 9.15.0, None where there is none.
    """
    release, found = torch_version.partition("+")[0], []
    mended = release == "2.9.1" and cudnn is not None and cudnn >= 91500
    if release in ("2.9.0", "2.9.1") and not mended:
        with_cudnn = ", or cuDNN 9.15 (pip install nvidia-cudnn-cu12==9.15.*)"
        found.append(
            f"torch {release} takes three times the memory for 3-D convolutions in bfloat16, and "
            "long (pytorch#166643): install torch 2.10 or newer"
            + (with_cudnn if release == "2.9.1" else "")
        )
    if cudnn is not None and 90800 <= cudnn < 91100:
        number = f"{cudnn // 10000}.{cudnn % 10000 // 100}"
        found.append(
            f"cuDNN {number} gives wrong results in bfloat16 (pytorch#163539): install cuDNN 9.11 "
            "or newer"
        )
    return found


@lru_cache(1)
def _warn_of_faults() -> None:
    """Say once what is known to be wrong here."""
    cudnn = None if torch.version.hip else torch.backends.cudnn.version()
    for fault in known_faults(torch.__version__, cudnn):
        log.warning(fault)


@lru_cache(1)
def _warn_where_emulated() -> None:
    """Say once that this processor's float32 is far faster, where torch has no fast bfloat16 for
    it.
    """
    if torch.backends.mkldnn.is_available() and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        log.warning(
            "this processor has no arithmetic for bfloat16, which takes many times as long as "
            "float32: leave out --dtype bfloat16"
        )


def repeat_bit_for_bit() -> None:
    """On a GPU, take kernels whose results repeat; call it before anything runs there."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    # Where torch.compile may choose by timing, it takes what repeats.
    inductor: Any = import_module("torch._inductor.config")
    if hasattr(inductor, "deterministic"):
        inductor.deterministic = True


def set_patience(patience: timedelta) -> None:
    """How long processes on GPUs wait for each other: ``PATIENT``, or ``IN_STEPS`` once a run
    steps.

    Of one that died the others hear at once from the launcher; of one that hangs, by this.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl":
        set_timeout: Any = torch.distributed.distributed_c10d._set_pg_timeout
        set_timeout(patience)


def peak_of(device: torch.device, half: bool) -> float | None:
    """Operations a second that a device could do, where its maker's figure is known here."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    known = [peaks for kind, peaks in PEAKS.items() if all(w in name for w in kind.split())]
    return known[0][0 if half else 1] if known else None
