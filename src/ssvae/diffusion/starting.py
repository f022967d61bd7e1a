"""A diffusion model that starts from another's weights, with the same patches or smaller ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME as DIFFUSERS_WEIGHTS
from safetensors.torch import load_file
from transformers.utils import SAFE_WEIGHTS_NAME as TRANSFORMERS_WEIGHTS

from ssvae.diffusion.objective import FlowObjective
from ssvae.storage.files import read_json

WEIGHTS = {
    "transformer": DIFFUSERS_WEIGHTS,
    "text_encoder": TRANSFORMERS_WEIGHTS,
    "repa": DIFFUSERS_WEIGHTS,
}
"""The file of each part of the objective in a checkpoint."""


def take_weights(objective: FlowObjective, folder: Path) -> None:
    """Copy a checkpoint's EMA into the objective; a ValueError for a model of another shape."""
    for name, part in objective.named_children():
        path, own = folder / name / WEIGHTS[name], dict(part.named_parameters())
        if name == "repa" and not path.exists():
            continue  # it begins anew
        held = load_file(path) if path.exists() else {}
        if name == "transformer" and held:
            held = repatched(held, objective.transformer.config["patch_size"])
        names = own.keys() | held.keys()
        other = [each for each in names if _shape(own, each) != _shape(held, each)]
        if other:
            raise ValueError(
                f"the {name} in {folder} has other weights than the recipe's ({min(other)} and "
                f"{len(other) - 1} more differ): give the same model and text options"
            )
        with torch.no_grad():
            for each, weight in own.items():
                weight.copy_(held[each])


def token_spacing(start: Path | None, patch: tuple[int, int, int]) -> tuple[float, float, float]:
    """How far tokens of this patch lie apart in places as a checkpoint knows them; else 1."""
    path = None if start is None else start / "transformer" / "config.json"
    if path is None or not path.exists():  # take_weights says what is missing
        return (1.0, 1.0, 1.0)
    config = read_json(path)
    held, sides = config.get("token_spacing", (1.0, 1.0, 1.0)), config["patch_size"]
    t, h, w = (one * new / old for one, new, old in zip(held, patch, sides, strict=True))
    return t, h, w


def repatched(weights: Mapping[str, torch.Tensor], patch: Sequence[int]) -> dict[str, torch.Tensor]:
    """A transformer's weights for patches that divide its own; for others as they are.

    A small patch is read as the large one that repeats it would be: kernels are summed over the
    repetitions. Its velocity is the mean of those that the large one's parts had.
    """
    found = dict(weights)
    kernel = found["patch_embedding.weight"]  # (D, C, T, H, W)
    sides = tuple(zip(kernel.shape[2:], patch, strict=True))
    if any(large % small for large, small in sides):
        return found
    t, h, w = (large // small for large, small in sides)
    split = kernel.unflatten(4, (w, -1)).unflatten(3, (h, -1)).unflatten(2, (t, -1))
    found["patch_embedding.weight"] = split.sum((2, 4, 6))
    for name in ("proj_out.weight", "proj_out.bias"):  # rows are (T, H, W, C)
        rows = found[name].unflatten(0, (*kernel.shape[2:], -1))
        split = rows.unflatten(2, (w, -1)).unflatten(1, (h, -1)).unflatten(0, (t, -1))
        found[name] = split.mean((0, 2, 4)).flatten(0, 3)
    return found


def _shape(weights: Mapping[str, torch.Tensor], name: str) -> torch.Size | None:
    return weights[name].shape if name in weights else None
