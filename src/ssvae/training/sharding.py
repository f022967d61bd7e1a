"""Models whose weights are divided among processes (FSDP2): whole tensors for files, and back.

Plain tensors pass through, so that trainers need not ask how they run, and files are the same
however a run is divided. What gathers must be called on every process.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from diffusers.training_utils import EMAModel
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether weights are divided among processes."""
    return accelerator.distributed_type == DistributedType.FSDP


def prepare(accelerator: Accelerator, model: nn.Module, *optimizers: torch.optim.Optimizer) -> Any:
    """Model and optimisers as the processes at hand want them.

    Under FSDP the parts that the model names in ``_no_split_modules`` are gathered one by one.
    """
    if is_sharded(accelerator):
        if not accelerator.is_fsdp2:
            raise ValueError(
                "FSDP must be version 2, for parameters keep their names in it: fsdp_version: 2 in "
                "the configuration of accelerate"
            )
        plugin: Any = accelerator.state.fsdp_plugin
        if plugin.mixed_precision_policy is not None:
            # Products are autocast's, as without FSDP. What a model gives stays as it is: a copy in
            # another format would not be filled in by the backward pass (see balance).
            plugin.mixed_precision_policy = dataclasses.replace(
                plugin.mixed_precision_policy, output_dtype=None, reduce_dtype=torch.float32
            )
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()  # it shards no channels-last weights
    return accelerator.prepare(model, *optimizers)


def check_optimizer(name: str, accelerator: Accelerator) -> None:
    """A ValueError where an optimiser takes weights that are not whole."""
    if name == "muon" and is_sharded(accelerator):
        raise ValueError("Muon takes weights that are whole: give another --optimizer with FSDP")


def check_whole_weights(what: str, accelerator: Accelerator) -> None:
    """A ValueError where weights are divided among processes."""
    if is_sharded(accelerator):
        raise ValueError(f"{what} take weights that are whole: leave them out with FSDP")


def replicate(accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    """The same for a small model that every process keeps whole."""
    if is_sharded(accelerator):
        return DistributedDataParallel(model), optimizer
    return accelerator.prepare(model, optimizer)


def ema_of(weights: Iterable[nn.Parameter], decay: float, device: torch.device) -> EMAModel:
    """An EMA of weights, as they are divided."""
    weights = list(weights)
    foreach = not any(isinstance(weight, DTensor) for weight in weights)
    ema = EMAModel(weights, decay=decay, foreach=foreach)
    ema.to(device)
    return ema


def load_ema(
    ema: EMAModel, state: Any, averages: Sequence[torch.Tensor], weights: Iterable[nn.Parameter]
) -> None:
    """Take up a state and the whole ``averages`` of weights, divided as these are."""
    weights = list(weights)
    ema.load_state_dict(dict(state, shadow_params=list(averages)))
    ema.to(weights[0].device)
    pairs = zip(ema.shadow_params, weights, strict=True)
    ema.shadow_params = [shard_like(shadow, weight) for shadow, weight in pairs]


@contextmanager
def averaged(ema: EMAModel | None, weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """The EMA in the weights' place, for a while, where there is one."""
    if ema is None:
        yield
        return
    weights = list(weights)
    ema.store(weights)
    ema.copy_to(weights)
    try:
        yield
    finally:
        ema.restore(weights)


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Parts of a model can be called by themselves, while its weights lie whole on every
    process.
    """
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def copied(tree: Any) -> Any:
    """A copy of a state with every tensor whole, on the CPU, so that training may go on.

    It is on the main process, which saves; on others tensors are empty.
    """
    saves = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    if isinstance(tree, torch.Tensor):
        whole = tree.full_tensor() if isinstance(tree, DTensor) else tree.detach()
        return whole.to("cpu", copy=True) if saves else whole.new_empty(0)
    if isinstance(tree, Mapping):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(copied(value) for value in tree)
    return tree


def full_state(
    module: nn.Module, ema: EMAModel | None = None, of_ema: Iterable[nn.Parameter] = ()
) -> dict[str, torch.Tensor]:
    """A :func:`copied` state of a module, of weights that have two names the first alone.

    The EMA stands for the weights of which it is kept, ``of_ema``.
    """
    averages: Sequence[torch.Tensor] = [] if ema is None else ema.shadow_params
    mean = {id(w): x for w, x in zip(of_ema if averages else (), averages, strict=True)}
    state: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in module.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            state[name] = copied(mean.get(id(value), value.detach()))
        seen.add(id(value))
    return state


@torch.no_grad()
def load_full_state(
    module: nn.Module, state: Mapping[str, torch.Tensor], without: str = ""
) -> None:
    """Load a whole state into a module, however that is divided; a ValueError where it does not
    fit.

    ``without`` is a prefix of names that may be missing.
    """
    own = dict(module.named_parameters(remove_duplicate=False))
    placed = {k: shard_like(v, own[k]) if k in own else v for k, v in state.items()}
    missing, unexpected = module.load_state_dict(placed, strict=False)
    loaded = {id(own[name]) for name in state if name in own}
    lost = [name for name in missing if name not in own or id(own[name]) not in loaded]
    lost = [name for name in lost if not (without and name.startswith(without))]
    if lost or unexpected:
        raise ValueError(f"it lacks {lost} and has {unexpected} beside what the model has")


def shard_like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A whole tensor, divided as a parameter of its shape is."""
    if not isinstance(parameter, DTensor) or isinstance(value, DTensor):
        return value
    on_device = value.to(parameter.device)
    return distribute_tensor(on_device, parameter.device_mesh, parameter.placements)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Take up a whole state, divided as the optimiser's parameters are."""
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for name, value in optimizer.state[parameter].items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    optimizer.state[parameter][name] = shard_like(value, parameter)
