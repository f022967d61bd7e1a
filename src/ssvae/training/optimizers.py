"""Optimisers of transformers: Muon for the blocks' matrices, AdamW for the rest."""

from collections.abc import Iterable

import torch
from torch import nn

OPTIMIZERS = ("muon", "adamw")


def transformer_optimizers(
    blocks: nn.Module,
    parameters: Iterable[nn.Parameter],
    name: str,
    muon_learning_rate: float,
    learning_rate: float,
    weight_decay: float,
) -> list[torch.optim.Optimizer]:
    """The optimisers called ``name``; groups know their peak rate as ``peak_lr``.

    "muon" takes the matrices in ``blocks`` (Newton-Schulz steps on the momentum,
    https://kellerjordan.github.io/posts/muon) and leaves embeddings, biases, gains and what lies
    outside to AdamW; "adamw" gives AdamW everything.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    matrices = [p for p in blocks.parameters() if p.ndim == 2] if name == "muon" else []
    taken = set(map(id, matrices))
    rest = [p for p in parameters if id(p) not in taken]
    adamw = torch.optim.AdamW(
        rest, learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, muon_learning_rate, weight_decay=weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers
