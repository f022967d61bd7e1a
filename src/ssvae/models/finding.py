"""Finding a model by name: a shipped one, in a run, a checkpoint or a model's folder, or on the
hub.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.blocks import channels_last
from ssvae.models.names import is_own
from ssvae.models.official import fetch_official, load_official
from ssvae.models.own import Own
from ssvae.models.shipped import OWNER, shipped_folder
from ssvae.storage.digests import check_whole
from ssvae.storage.hub import HUB_ID
from ssvae.storage.runs import last_checkpoint


def find_vae(path: str | Path) -> Path:
    """The folder of an autoencoder: a shipped one by its name, or in a run, a checkpoint or a model
    folder.
    """
    path = shipped_folder(str(path)) or Path(path)
    if not path.is_dir():
        raise ValueError(
            f"no model at {path}: give a model's folder, that of a training run, or the name of a "
            "model that comes with ssvae (ssvae models)"
        )
    found = last_checkpoint(path, "vae/")
    for candidate in ([found[1] / "vae"] if found else []) + [path / "vae", path]:
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
            check_whole(parent)
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
    """The autoencoder of a run (its last checkpoint), a checkpoint or a model folder, or a shipped
    one, to evaluate.
    """
    own = AutoencoderKLSSVAE.__name__
    return load_backbone(find_vae(path), device, dtype, classes=(own,)).vae


def open_vae(
    model: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Backbone:
    """Any VAE that somebody names.

    Args:
        model: a shipped one, a run (its last checkpoint), a model's folder, a hub id, a published
            checkpoint of SSVAE, as a file or a hub id; or ``module:function`` or
            ``file.py:function``, which is imported and called for a VAE of one's own
            (:class:`ssvae.models.own.Own`).
        device: where to; "meta" for its shape alone.
        dtype: number format of its weights.

    Raises:
        ValueError: where there is none of that name, or it does not load.
    """
    if is_own(model):
        return _open_own(Own(model), device, dtype)
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


def _open_own(own: Own, device: torch.device | str, dtype: torch.dtype) -> Backbone:
    """A VAE of one's own, with the weights that its name asks for."""
    backbone = own.open()
    if own.weights:
        folder = find_vae(own.weights)
        check_whole(folder)
        (file, *_) = sorted(folder.glob("*.safetensors"))
        try:
            backbone.vae.load_state_dict(load_file(file))
        except (RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"the weights in {folder} are not of the VAE of {own.function}: {error}"
            ) from error
    backbone.vae.to(device=device, dtype=dtype)
    return backbone


def resolve_vae(path: str) -> str:
    """Where a VAE is, for :func:`open_vae` from any folder: a shipped one's name (ssvae/tiny); the
    folder in a run, a checkpoint or a model's folder, in full; a hub id (owner/name,
    owner/name/subfolder) as it is; or the name of one of one's own. Below a folder that is there a
    name that is not is a mistake, and not looked for on the hub.
    """
    if is_own(path):
        return str(Own(path))
    if folder := shipped_folder(path):
        return OWNER + folder.name  # wherever the package lies when it is read again
    hub_id = (
        HUB_ID.fullmatch(path) and not Path(path).exists() and not Path(path.split("/")[0]).exists()
    )
    return path if hub_id else str(find_vae(path).resolve())
