"""Results of processes that work together."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

T = TypeVar("T")


def gather_objects(accelerator: Accelerator, work: Callable[[], T]) -> list[T]:
    """What each process gets by this work: in their order on the main one, on others their own.

    A ValueError or an OSError of one is raised by all, so that none waits for ever.
    """
    result, error = None, ""
    try:
        result = work()
    except (ValueError, OSError) as wrong:
        error = str(wrong) or type(wrong).__name__
    if accelerator.num_processes == 1:
        if error:
            raise ValueError(error)
        return [result]  # type: ignore[list-item]
    for reason in gather_object([error]):
        if reason:
            raise ValueError(reason)
    gathered = [None] * accelerator.num_processes if accelerator.is_main_process else None
    torch.distributed.gather_object(result, gathered)
    return [result] if gathered is None else gathered  # type: ignore[list-item, return-value]


def from_main(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """What the main process gets by this work, on all of them; the others wait.

    A ValueError or an OSError of it is raised by all.
    """
    if accelerator.num_processes == 1:
        return work()
    told: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            told[0] = work()
        except (ValueError, OSError) as wrong:
            told[1] = ValueError(str(wrong) or type(wrong).__name__)
    result, error = broadcast_object_list(told)
    if error is not None:
        raise error
    return result
