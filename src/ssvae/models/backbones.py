"""Any video VAE behind one protocol: ours, and those of diffusers.

Shape legend: B clips, T frames, H, W pixels; C, t, h, w channels and sides of the latents.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.modeling_utils import ModelMixin

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.blocks import channels_last
from ssvae.models.posterior import DiagonalGaussian


@dataclass(frozen=True)
class Layout:
    """What differs between classes of VAEs, read from a model's config."""

    channels: int
    """Latent channels."""
    time_factor: int
    """Frames for a latent frame; the first frame stands alone."""
    space_factor: int
    """Pixels for a latent, in height and in width."""
    mean: tuple[float, ...]
    """Mean of each latent channel that the config names; zeros where it names none."""
    std: tuple[float, ...]
    """Standard deviation of each latent channel, or 1 / scaling_factor for all."""


def _layout(config: Any, channels: int, time_factor: int, space_factor: int) -> Layout:
    mean, std = config.get("latents_mean"), config.get("latents_std")
    scale = config.get("scaling_factor") or 1.0
    return Layout(
        channels,
        time_factor,
        space_factor,
        tuple(mean) if mean is not None else (0.0,) * channels,
        tuple(std) if std is not None else (1 / scale,) * channels,
    )


def _like_wan(config: Any) -> Layout:
    factors = config["scale_factor_temporal"], config["scale_factor_spatial"]
    return _layout(config, config["z_dim"], *factors)


def _cogvideox(config: Any) -> Layout:
    space = 2 ** (len(config["block_out_channels"]) - 1)
    time = int(config["temporal_compression_ratio"])
    return _layout(config, config["latent_channels"], time, space)


def _hunyuan(config: Any) -> Layout:
    factors = config["temporal_compression_ratio"], config["spatial_compression_ratio"]
    return _layout(config, config["latent_channels"], *factors)


def _ltx(config: Any) -> Layout:
    if config["timestep_conditioning"]:
        raise ValueError(
            "this AutoencoderKLLTXVideo decodes by a noise level too (timestep_conditioning), which "
            "a plain VAE has not: choose one without"
        )
    halvings = sum(config["spatio_temporal_scaling"])
    time = config["temporal_compression_ratio"] or config["patch_size_t"] * 2**halvings
    space = config["spatial_compression_ratio"] or config["patch_size"] * 2**halvings
    return _layout(config, config["latent_channels"], time, space)


LAYOUTS: dict[str, Callable[[Any], Layout]] = {
    "AutoencoderKLSSVAE": _like_wan,
    "AutoencoderKLWan": _like_wan,
    "AutoencoderKLCogVideoX": _cogvideox,
    "AutoencoderKLHunyuanVideo": _hunyuan,
    "AutoencoderKLLTXVideo": _ltx,
}


class Backbone:
    """A video VAE seen through what all of them have in common.

    Args:
        vae: a model whose class stands in :data:`LAYOUTS`, or any, with its ``layout``.
    """

    def __init__(self, vae: ModelMixin, layout: Layout | None = None):
        name = type(vae).__name__
        if layout is None and name not in LAYOUTS:
            raise ValueError(
                f"a VAE must be one of {', '.join(LAYOUTS)}, got {name}: a line in "
                "ssvae.models.backbones.LAYOUTS adds another class"
            )
        self.vae: Any = vae
        self.layout = layout or LAYOUTS[name](vae.config)

    @property
    def name(self) -> str:
        """The class of the VAE."""
        return type(self.vae).__name__

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, t, h, w) of the latents of clips of this size; a ValueError where it does not fit."""
        time, side = self.layout.time_factor, self.layout.space_factor
        if frames < 1 or (frames - 1) % time or height % side or width % side:
            raise ValueError(
                f"{self.name} takes clips of {time}n + 1 frames with sides that are multiples of "
                f"{side}, got {frames} frames of {height}x{width}"
            )
        return self.layout.channels, (frames - 1) // time + 1, height // side, width // side

    @torch.no_grad()
    def encode(self, clips_BCTHW: torch.Tensor) -> DiagonalGaussian:
        """Clips (B, 3, T, H, W) in [-1, 1] to a posterior over latents (B, C, t, h, w)."""
        self.latent_shape(*clips_BCTHW.shape[2:])
        clips = clips_BCTHW.to(self.vae.device, self.vae.dtype)
        posterior = self.vae.encode(clips).latent_dist
        if isinstance(posterior, DiagonalGaussian):
            return posterior
        # The mean of diffusers' own class lies in its parameters, whatever else it holds.
        return DiagonalGaussian(posterior.parameters)

    @torch.no_grad()
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, t, h, w) to clips (B, 3, T, H, W), not clamped."""
        return self.vae.decode(z.to(self.vae.device, self.vae.dtype)).sample


def load_backbone(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    classes: Collection[str] = tuple(LAYOUTS),
) -> Backbone:
    """The VAE in a folder that ``save_pretrained`` wrote, to evaluate.

    ``path`` may also be a hub id, ``owner/name`` or ``owner/name/subfolder``. Its config.json names
    its class, one of ``classes``. Nothing is unpickled: weights must be safetensors.
    """
    where: dict[str, Any] = {}
    folder, parts = str(path), str(path).split("/")
    if not Path(path).is_dir() and len(parts) > 2 and parts[0]:
        folder, where = "/".join(parts[:2]), {"subfolder": "/".join(parts[2:])}
    try:
        config = AutoencoderKLSSVAE.load_config(folder, **where)
        name = config.get("_class_name") if isinstance(config, dict) else None
        if name is None or name not in classes:
            raise ValueError(f"its config.json is of {name}, expected {' or '.join(classes)}")
        own = name == AutoencoderKLSSVAE.__name__
        model: Any = AutoencoderKLSSVAE if own else getattr(diffusers, name)
        vae = model.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True, low_cpu_mem_usage=False, **where
        )
    except Exception as error:
        raise ValueError(f"the model in {path} does not load: {error}") from error
    return Backbone((channels_last(vae) if own else vae).to(device).eval())
