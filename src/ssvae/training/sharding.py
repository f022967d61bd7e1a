"""Models whose weights are divided among processes (FSDP): whole tensors for files, and back.

Everything here passes plain tensors through, so that trainers need not ask how they run. What
gathers must be called on every process.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel


def prepare(accelerator: Accelerator, model: nn.Module, *optimizers: torch.optim.Optimizer) -> Any:
    """Model and optimisers as the processes at hand want them."""
    if accelerator.distributed_type == DistributedType.FSDP:
        if not accelerator.is_fsdp2:
            raise ValueError(
                "FSDP must be version 2, for parameters keep their names in it: fsdp_version: 2 in "
                "the configuration of accelerate"
            )
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()  # it shards no channels-last weights
    return accelerator.prepare(model, *optimizers)


def replicate(accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    """The same for a small model that every process keeps whole."""
    if accelerator.distributed_type == DistributedType.FSDP:
        return DistributedDataParallel(model), optimizer
    return accelerator.prepare(model, optimizer)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Parts of a model can be called by themselves, while its weights lie whole on every process."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def is_divided(parameter: torch.Tensor) -> bool:
    """Whether a process holds but a part of it."""
    return isinstance(parameter, DTensor)


def whole(tree: Any) -> Any:
    """A state with every tensor whole."""
    if isinstance(tree, DTensor):
        return tree.full_tensor()
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(whole(value) for value in tree)
    return tree


@torch.no_grad()
def fill(module: nn.Module, state: Mapping[str, torch.Tensor], strict: bool = True) -> None:
    """Load a whole state into a module, however it is divided."""
    own = dict(module.named_parameters())
    divided = {k: like(v, own[k]) if k in own else v for k, v in state.items()}
    module.load_state_dict(divided, strict)


def like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A whole tensor, divided as a parameter of its shape is."""
    if not isinstance(parameter, DTensor) or isinstance(value, DTensor):
        return value
    on_device = value.to(parameter.device)
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements)


def divide_states(optimizer: torch.optim.Optimizer) -> None:
    """Divide an optimiser's state, just loaded whole, as its parameters are."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for name, value in optimizer.state[parameter].items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    optimizer.state[parameter][name] = like(value, parameter)


def all_like(values: Iterable[torch.Tensor], parameters: Iterable[torch.Tensor]) -> list[Any]:
    """Whole tensors, each divided as its parameter is."""
    return [like(v, p) for v, p in zip(values, parameters, strict=True)]
