"""Operators that are one kernel on a GPU, by Triton, and written out elsewhere.

Each stands beside its written-out form, which the CPU runs, so that what a GPU's autograd computes
by the operator is held against autograd's own without a GPU, and the kernel against that form by
Triton's interpreter.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch.utils._triton import has_triton_package

FORMATS = torch.bfloat16, torch.float16, torch.float32
_library = torch.library.Library("ssvae", "DEF")


def fuses(x: torch.Tensor) -> bool:
    """Whether the kernels are for this tensor.

    Not where torch.compile joins operators itself, nor in double precision.
    """
    return (
        x.is_cuda
        and x.dtype in FORMATS
        and has_triton_package()
        and not torch.compiler.is_compiling()
    )


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
