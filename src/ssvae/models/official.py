"""The published checkpoint: its format, its names, and the way from there to ours."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, model_info

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.blocks import CausalConv3d
from ssvae.models.config import PRESETS, AutoencoderConfig
from ssvae.regularizers.latent_masking import LatentMasking
from ssvae.storage.files import replacing
from ssvae.storage.hub import HUB_ID, hub_options
from ssvae.storage.weights import load_tensors

logger = logging.getLogger(__name__)

_CHECKPOINT_ENDINGS = (".ckpt", ".pt", ".pth")
_MODEL_KEYS = ("encoder.", "decoder.", "mask_token")


def official_names(vae: AutoencoderKLSSVAE) -> dict[str, str]:
    """For each parameter of ``vae`` its name in the published checkpoint: {published: ours}."""
    names = {}
    for path, module in vae.named_modules():
        published = path.replace(".blocks.", ".block.").replace(".shortcut", ".nin_shortcut")
        published = published.replace(".norm_out", ".out.0").replace(".conv_out", ".out.2")
        if isinstance(module, CausalConv3d):
            published += ".conv"
        for name, _ in module.named_parameters(recurse=False):
            names[f"{published}.{name}"] = f"{path}.{name}"
    return names


def infer_config(state_dict: dict[str, torch.Tensor]) -> AutoencoderConfig:
    """Read the architecture off the shapes of a published checkpoint's tensors."""

    def count(template: str) -> int:
        n = 0
        while template.format(n) in state_dict:
            n += 1
        return n

    def width(key: str) -> int:
        if key not in state_dict:
            raise ValueError(
                f"a published checkpoint has a tensor {key!r}, this one has none: is it an SSVAE?"
            )
        return state_dict[key].shape[0]

    base = width("encoder.conv_in.conv.bias")
    levels = count("encoder.down.{}.block.0.conv1.conv.bias")
    widths = [width(f"encoder.down.{i}.block.0.conv1.conv.bias") for i in range(levels)]
    in_time = [f"encoder.down.{i}.downsample.conv.conv.bias" for i in range(levels - 1)]
    config = AutoencoderConfig(
        z_dim=width("encoder.out.2.conv.bias") // 2,
        base_channels=base,
        channel_multipliers=tuple(w // base for w in widths),
        encoder_blocks=count("encoder.down.0.block.{}.conv1.conv.bias"),
        decoder_blocks=count("decoder.up.0.block.{}.conv1.conv.bias"),
        time_factors=tuple(2 if key in state_dict else 1 for key in in_time),
        space_factors=(2,) * (levels - 1),
    )
    published = PRESETS["ssvae-c48-f16t4"]
    statistics = dict(latents_mean=None, latents_std=None)
    return published if AutoencoderConfig(**{**vars(published), **statistics}) == config else config


def fetch_official(name: str) -> Path:
    """The file of a published checkpoint: a path, or a hub id, owner/name or owner/name/file,
    perhaps with a revision behind @.
    """
    if Path(name).exists():
        return Path(name)
    if not HUB_ID.fullmatch(name):
        raise ValueError(f"no checkpoint at {name}: give a file or a hub id such as zai-org/SSVAE")
    plain, _, revision = name.partition("@")
    repository, file = "/".join(plain.split("/")[:2]), "/".join(plain.split("/")[2:])
    if not file:
        hub_options(name)
        ask = partial(model_info, repository, revision=revision or None, timeout=30)
        found = _from_hub(name, ask)
        listed = [file.rfilename for file in found.siblings or ()]
        files = [f for f in listed if f.endswith(_CHECKPOINT_ENDINGS)]
        if len(files) != 1:
            raise ValueError(
                f"{repository} must hold one checkpoint ({', '.join(_CHECKPOINT_ENDINGS)}) or "
                f"you name one, {repository}/FILE; it holds {', '.join(files) or 'none'}"
            )
        file = files[0]
    _, options = hub_options(f"{repository}@{revision}" if revision else repository, file)
    return Path(_from_hub(name, partial(hf_hub_download, repository, file, **options)))


def _from_hub(name: str, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception as error:  # its transport's own too, which have no common base
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"no file {name}, and the hub does not give it: {why}") from error


def load_official(path: str | Path) -> tuple[AutoencoderKLSSVAE, LatentMasking]:
    """Read a checkpoint of the published code: the autoencoder and its masking with the token.

    The architecture follows from the shapes; where it is the published one, the published latent
    statistics go into the config. Nothing is unpickled but tensors and plain containers. Tensors
    that are not the model's (``loss.*`` and the like) are left out and counted in the log; a model
    tensor that is missing, unknown or of another shape is a ValueError that names it.
    """
    if not Path(path).is_file():
        raise ValueError(f"a published checkpoint is a file, found none at {path}")
    checkpoint = load_tensors(path)
    state_dict = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state_dict, dict):
        raise ValueError(f"a published checkpoint holds a 'state_dict', {path} holds none")
    if foreign := [key for key in state_dict if not isinstance(key, str)]:
        raise ValueError(f"the 'state_dict' of {path} has the key {foreign[0]!r}, which is no name")
    given = {k: v for k, v in state_dict.items() if k.startswith(_MODEL_KEYS)}
    left_out = Counter(k.split(".")[0] for k in state_dict if k not in given)
    for family, count in left_out.items():
        logger.info("left out %d tensors of %s.* from %s", count, family, path)

    config = infer_config(given)
    with torch.device("meta"):
        vae = AutoencoderKLSSVAE(**vars(config))
        masking = LatentMasking(config.z_dim)
    names = official_names(vae)
    shapes = {published: vae.get_parameter(ours).shape for published, ours in names.items()}
    shapes["mask_token"] = masking.token.shape
    wrong = [f"missing {k}" for k in shapes if k not in given]
    wrong += [f"unknown {k}" for k in given if k not in shapes]
    wrong += [
        f"{k} is {tuple(given[k].shape)}, expected {tuple(shape)}"
        for k, shape in shapes.items()
        if k in given and given[k].shape != shape
    ]
    if wrong:
        raise ValueError(f"{path} does not fit the architecture: " + "; ".join(wrong))
    vae.load_state_dict({ours: given[k].float() for k, ours in names.items()}, assign=True)
    masking.load_state_dict({"token": given["mask_token"].float()}, assign=True)
    return vae.eval(), masking.eval()


def save_official(vae: AutoencoderKLSSVAE, masking: LatentMasking, path: str | Path) -> None:
    """Write a checkpoint that the published code loads, every tensor as it is.

    A ValueError tells where the architecture is one that the published code does not have.
    """
    path = Path(path)
    if not path.parent.is_dir() or path.is_dir():
        raise ValueError(f"a checkpoint is a file in a folder that exists, got {path}")
    tensors = {
        published: vae.get_parameter(ours).detach().cpu().contiguous()
        for published, ours in official_names(vae).items()
    }
    fields = [f.name for f in dataclasses.fields(AutoencoderConfig) if not f.name.startswith("lat")]
    config = {name: vae.config[name] for name in fields}
    read = vars(infer_config(tensors))
    if different := [
        f"{name} {value}, in the published code {read[name]}"
        for name, value in config.items()
        if (tuple(value) if isinstance(value, list) else value) != read[name]
    ]:
        raise ValueError(
            "the published code does not have this model's architecture: " + "; ".join(different)
        )
    tensors["mask_token"] = masking.token.detach().cpu().contiguous()
    with replacing(path) as partial:
        torch.save({"state_dict": tensors, "global_step": 0}, partial)
