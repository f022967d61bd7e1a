"""What a resumed run needs of a model and its optimisers: one format for all trainers.

``model.safetensors`` holds the weights as they are learned, ``optimizers.pt`` the optimisers'
states, ``ema.pt`` the running mean where there is one. The trainers write models that load by
themselves beside it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import nn

from ssvae.training.checkpoint import write_tensors
from ssvae.training.sharding import (
    full_state,
    full_tensors,
    load_ema,
    load_full_state,
    load_optimizer,
)

MODEL, OPTIMIZERS, EMA = "model.safetensors", "optimizers.pt", "ema.pt"


def gathered(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    ema: EMAModel | None = None,
    without: str = "",
) -> dict[str, Any]:
    """The state, whole on the main process. ``without`` is a prefix of weights that are not
    trained.
    """
    weights = full_state(model)
    if without:
        weights = {name: x for name, x in weights.items() if not name.startswith(without)}
    state: dict[str, Any] = {
        MODEL: weights,
        OPTIMIZERS: [full_tensors(optimizer.state_dict()) for optimizer in optimizers],
    }
    return state if ema is None else state | {EMA: full_tensors(ema.state_dict())}


def write(state: dict[str, Any], folder: Path) -> None:
    """Write what :func:`gathered` gave."""
    write_tensors(state[MODEL], folder / MODEL)
    for name in (OPTIMIZERS, EMA):
        if name in state:
            torch.save(state[name], folder / name)


def load(
    folder: Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    ema: EMAModel | None = None,
    of_ema: Iterable[nn.Parameter] = (),
    without: str = "",
) -> None:
    """Take up what :func:`write` wrote; ``of_ema`` are the weights whose mean is kept."""

    def read(name: str) -> Any:
        return torch.load(folder / name, map_location="cpu", weights_only=True)

    load_full_state(model, load_file(folder / MODEL), without)
    if ema is not None:
        load_ema(ema, read(EMA), of_ema)
    for optimizer, state in zip(optimizers, read(OPTIMIZERS), strict=True):
        load_optimizer(optimizer, state)
