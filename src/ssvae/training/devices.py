"""Where a run computes, in which number format, and the one policy for precision.

float32 means float32: TensorFloat-32 stays off, so that a GPU agrees with the CPU to rounding (1e-4
of a clip's range; tests/gpu holds it to that). bfloat16 is mixed precision: weights, their updates,
norms and losses in float32, products in bfloat16, and results that agree within 3 %. Kernels are
chosen by measuring (cuDNN's benchmark), which may change results in the last bit from run to run;
``repeat_bit_for_bit`` takes those that repeat, at a price.
"""

import logging
import os
from datetime import timedelta
from functools import lru_cache
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


def make_accelerator(device: str = "auto", dtype: str = "float32") -> Accelerator:
    """One process or many, as ``accelerate launch`` or ``torchrun`` started it.

    ``device`` is "auto" (a GPU where torch sees one), "cpu" or "cuda"; ``dtype`` is "float32" or
    "bfloat16" (mixed precision, weights in float32).
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but this torch sees no GPU: use --device cpu")
    precision = {"float32": "no", "bfloat16": "bf16"}[dtype]
    configured = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if configured not in ("no", precision):
        raise ValueError(
            f"accelerate is configured for mixed_precision {configured}, but --dtype is {dtype}: give "
            "--dtype bfloat16 for bf16, or configure no"
        )
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    patience = InitProcessGroupKwargs(timeout=PATIENT)
    # Left to itself where there is no GPU, accelerate takes each of torchrun's processes for the only one.
    cpu = device == "cpu" or not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[patience])
    if precision == "bf16" and accelerator.device.type == "cpu" and accelerator.is_main_process:
        _warn_where_emulated()
    return accelerator


@lru_cache(1)
def _warn_where_emulated() -> None:
    """Say once that this processor's float32 is far faster, where torch has no fast bfloat16 for it."""
    if torch.backends.mkldnn.is_available() and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        log.warning(
            "this processor has no arithmetic for bfloat16, which takes many times as long as float32: "
            "leave out --dtype bfloat16"
        )


def repeat_bit_for_bit() -> None:
    """On a GPU, take kernels whose results repeat; call it before anything runs there."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def set_patience(patience: timedelta) -> None:
    """How long processes on GPUs wait for each other: ``PATIENT``, or ``IN_STEPS`` once a run steps.

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
