"""Operators that are one kernel on a GPU, by Triton, and written out elsewhere.

Each stands beside its written-out form, which the CPU runs, so that what a GPU's autograd computes
by the operator is held against autograd's own without a GPU, and the kernel against that form by
Triton's interpreter.
"""

import logging
import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.utils._triton import has_triton

logger = logging.getLogger(__name__)

FORMATS = torch.bfloat16, torch.float16, torch.float32
_library = torch.library.Library("ssvae", "DEF")


def fuses(x: torch.Tensor) -> bool:
    """Whether the kernels are for this tensor.

    Not where torch.compile joins operators itself, nor in double precision.
    """
    return (
        x.is_cuda
        and x.dtype in FORMATS
        and not torch.compiler.is_compiling()
        and not _told_lacking()
    )


def lacking() -> list[str]:
    """What Triton and torch.compile would miss here to make kernels for a GPU.

    Images that are made to run things alone often have no compiler.
    """
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    compiler = os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))
    there = {"Triton": has_triton(), "a C compiler": compiler, "Python's headers": headers}
    return [f"{what} is missing" for what, found in there.items() if not found]


def check_compiles(device: torch.device) -> None:
    """A ValueError where torch.compile would miss something for this device."""
    if device.type == "cuda" and (missing := lacking()):
        raise ValueError(
            f"torch.compile needs more than is here: {', '.join(missing)}; install it, or leave "
            "out --compile"
        )


@lru_cache(1)
def _told_lacking() -> list[str]:
    found = lacking()
    if found:
        logger.warning("operators run one by one, which is slower: %s", ", ".join(found))
    return found


def operator(schema: str, written_out: Callable[..., Any], kernels: str) -> Any:
    """``torch.ops.ssvae``'s operator of this schema, ``name(arguments) -> results``.

    ``kernels`` is the module whose function of the same name launches the kernel. It is imported
    where that first runs: Triton comes with torch for GPUs alone.
    """
    name = schema.partition("(")[0]

    def run(*args: Any, **kwargs: Any) -> Any:
        # Triton launches on the device at hand, whichever the tensors are on.
        with torch.cuda.device(args[0].device):
            return getattr(import_module(kernels), name)(*args, **kwargs)

    _library.define(schema)
    _library.impl(name, written_out, "CPU")
    _library.impl(name, run, "CUDA")
    return getattr(torch.ops.ssvae, name)
