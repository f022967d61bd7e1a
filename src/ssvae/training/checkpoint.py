"""Checkpoints of a run: written whole or not at all, and copied to begin another."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ssvae.storage.digests import seal
from ssvae.storage.files import PARTIAL, replacing
from ssvae.storage.runs import checkpoint_folder, checkpoints

KEEP = 2  # the newest checkpoints of a run; older ones are removed


def save(run: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill the folder of a step's checkpoint, with checksums; remove old
    checkpoints.
    """
    final = checkpoint_folder(run, step)
    final.parent.mkdir(parents=True, exist_ok=True)
    for leftover in final.parent.glob(f"{PARTIAL}*"):  # of a run that was killed while it saved
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with replacing(final) as partial:
            partial.mkdir()
            write(partial)
            seal(partial)
    except (OSError, RuntimeError, SafetensorError) as error:  # as each library says "disk full"
        older = checkpoints(run)
        raise OSError(
            f"the checkpoint of step {step} could not be written to {final.parent} ({error}): "
            "where the disk is full make room, and the same command goes on from "
            + (f"step {older[-1][0]}, which is whole" if older else "the start")
        ) from error
    for _, old in checkpoints(run)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def branch(run: Path, step: int, out: Path) -> None:
    """Begin a run in ``out`` at a checkpoint of another, unless it has begun."""
    if checkpoints(out):
        return
    with replacing(out) as partial:
        shutil.copytree(checkpoint_folder(run, step), checkpoint_folder(partial, step))
        shutil.copy2(run / "config.json", partial)


def write_tensors(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """A model's weights, as diffusers and transformers write them."""
    save_file({k: v.contiguous() for k, v in state.items()}, path, {"format": "pt"})
