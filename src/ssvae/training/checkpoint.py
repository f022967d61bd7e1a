"""Checkpoints: written whole or not at all, found again by their names."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.blocks import channels_last
from ssvae.models.official import fetch_official, load_official

KEEP = 2  # the newest checkpoints of a run; older ones are removed
_PREFIX, _PARTIAL = "step-", ".partial-"


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The complete checkpoints of a run, (step, folder), in the order of their steps."""
    folders = (run / "checkpoints").glob(f"{_PREFIX}*")
    return sorted((int(f.name.removeprefix(_PREFIX)), f) for f in folders if f.is_dir())


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"{_PREFIX}{step:08d}"


def save(run: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a folder, then give it its name in one move; remove old checkpoints."""
    parent = run / "checkpoints"
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob(f"{_PARTIAL}*"):  # of a run that was killed while it saved
        shutil.rmtree(leftover, ignore_errors=True)
    partial, final = parent / f"{_PARTIAL}{step}", folder_of(run, step)
    partial.mkdir()
    try:
        write(partial)
        os.replace(partial, final)
    except (OSError, RuntimeError, SafetensorError) as error:  # as each library says "disk full"
        older = checkpoints(run)
        raise OSError(
            f"the checkpoint of step {step} could not be written to {parent} ({error}): where the disk is "
            "full make room, and the same command goes on from "
            + (f"step {older[-1][0]}, which is whole" if older else "the start")
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for _, old in checkpoints(run)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def branch(run: Path, step: int, out: Path) -> None:
    """Begin a run in ``out`` at a checkpoint of another, unless it has begun."""
    if checkpoints(out):
        return
    partial = out.with_name(f"{_PARTIAL}{out.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder_of(run, step), folder_of(partial, step))
    shutil.copy2(run / "config.json", partial)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def find_vae(path: str | Path) -> Path:
    """The folder of the autoencoder in a run, a checkpoint or a model folder."""
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"no model at {path}: give a model's folder or that of a training run")
    found = checkpoints(path)
    for candidate in ([found[-1][1] / "vae"] if found else []) + [path / "vae", path]:
        if list(candidate.glob("*.safetensors")) and (candidate / "config.json").is_file():
            return candidate
    raise ValueError(
        f"no model in {path}: a model's folder holds config.json and weights in safetensors, "
        "a run's holds a checkpoint"
    )


def find_masking(path: str | Path) -> Path:
    """The file of the :class:`LatentMasking` that an autoencoder was trained with, beside it."""
    folder = find_vae(path)
    for parent in (folder, folder.parent):
        if (parent / "masking.safetensors").is_file():
            return parent / "masking.safetensors"
    raise ValueError(
        f"no masking.safetensors beside the model in {path}: LatentMasking(channels).save(FILE) "
        "writes one with a fresh token"
    )


def load_vae(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AutoencoderKLSSVAE:
    """The autoencoder of a run (its last checkpoint), a checkpoint or a model folder, to evaluate."""
    own = AutoencoderKLSSVAE.__name__
    return load_backbone(find_vae(path), device, dtype, classes=(own,)).vae


def open_vae(
    model: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Backbone:
    """Any VAE to measure: a run (its last checkpoint), a model's folder, a hub id, or a published
    checkpoint of SSVAE, as a file or a hub id.
    """
    if Path(model).is_file():
        vae: Any = channels_last(load_official(model)[0])
        return Backbone(vae.to(device, dtype).eval())
    where = resolve_vae(model)
    try:
        return load_backbone(where, device, dtype)
    except ValueError as error:
        if Path(where).is_dir():
            raise
        try:
            return open_vae(str(fetch_official(model)), device, dtype)
        except ValueError:
            raise error from None


def resolve_vae(path: str) -> str:
    """Where a VAE is, for :func:`load_backbone`: the folder in a run, a checkpoint or a model's
    folder, in full; or a hub id (owner/name, owner/name/subfolder) as it is. Below a folder that is
    there a name that is not is a mistake, and not looked for on the hub.
    """
    looks_so = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)+", path)
    hub_id = looks_so and not Path(path).exists() and not Path(path.split("/")[0]).exists()
    return path if hub_id else str(find_vae(path).resolve())
