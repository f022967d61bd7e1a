"""What a resumed run needs of a model and its optimisers: one format for all trainers.

``model.safetensors`` holds the weights as they are learned, ``optimizers.pt`` the optimisers'
states, ``ema.pt`` how far the EMA is where there is one. The trainers write models that
load by themselves beside it, of the EMA where there is one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file
from torch import nn

from ssvae.training.checkpoint import write_tensors
from ssvae.training.sharding import (
    copied,
    full_state,
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
    """A copy of the state, whole on the main process. ``without`` is a prefix of weights that are
    not trained; the mean itself is in the models that trainers write.
    """
    weights = full_state(model)
    if without:
        weights = {name: x for name, x in weights.items() if not name.startswith(without)}
    state: dict[str, Any] = {
        MODEL: weights,
        OPTIMIZERS: [copied(optimizer.state_dict()) for optimizer in optimizers],
    }
    if ema is not None:
        state[EMA] = {k: v for k, v in ema.state_dict().items() if k != "shadow_params"}
    return state


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
    of_ema: Mapping[str, nn.Parameter] | None = None,
    averages: Mapping[str, Path] | None = None,
    without: str = "",
) -> None:
    """Take up what :func:`write` wrote, and the mean of the weights ``of_ema`` from ``averages``:
    by the beginning of their names, the file of a model that holds them by the rest.
    """

    def read(name: str) -> Any:
        return torch.load(folder / name, map_location="cpu", weights_only=True)

    load_full_state(model, load_file(folder / MODEL), without)
    if ema is not None:
        assert of_ema is not None
        held = {
            start + name: x
            for start, path in (averages or {}).items()
            for name, x in load_file(path).items()
        }
        load_ema(ema, read(EMA), [held[name] for name in of_ema], of_ema.values())
    for optimizer, state in zip(optimizers, read(OPTIMIZERS), strict=True):
        load_optimizer(optimizer, state)
