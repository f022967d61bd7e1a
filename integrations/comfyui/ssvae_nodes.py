"""SSVAE in ComfyUI: load a model, images to latents, latents to images.

Copy this file into ``ComfyUI/custom_nodes/`` (as ``ssvae_nodes.py``, or as ``__init__.py`` of a
folder) and ``pip install ssvae`` into ComfyUI's environment. Images are ComfyUI's, (frames, H, W,
3) in [0, 1], or 4 with alpha, of models that keep it; latents are ``{"samples": (1, C, t, h, w)}``,
as its video models take them.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F

from ssvae.data import of_colours
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.finding import load_vae
from ssvae.models.fingerprint import latents_fingerprint, same_latents

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CATEGORY = "latent/video/ssvae"
SIZE = "ssvae_size"
"""Key of a latent that holds frames, height and width of what was encoded, for decoding to cut
to."""
MADE_BY = "ssvae_latents"
"""Key of a latent that holds the fingerprint of the model's latents."""
FINGERPRINTS: WeakKeyDictionary[AutoencoderKLSSVAE, str] = WeakKeyDictionary()
"""Of the models that were loaded."""


class SSVAELoad:
    """A model that comes with ssvae, a run, a model's folder, or a checkpoint of one."""

    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = ("SSVAE",), ("ssvae",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI's name
        """What ComfyUI draws."""
        return {
            "required": {
                "model": ("STRING", {"default": "film"}),
                "dtype": (list(DTYPES), {"default": "float32"}),
                "device": (["auto", "cpu", "cuda"], {"default": "auto"}),
            }
        }

    def load(self, model: str, dtype: str, device: str) -> tuple[AutoencoderKLSSVAE]:
        """The autoencoder, ready to run."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        vae = load_vae(model, torch.device(device))
        FINGERPRINTS[vae] = latents_fingerprint(vae)  # before float16 rounds it
        return (vae.to(DTYPES[dtype]),)


class SSVAEEncode:
    """Frames to the posterior's mean; the last frame and the edges are repeated up to a size that
    fits.
    """

    CATEGORY, FUNCTION = CATEGORY, "encode"
    RETURN_TYPES, RETURN_NAMES = ("LATENT",), ("latent",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """What ComfyUI draws."""
        return {
            "required": {
                "ssvae": ("SSVAE",),
                "images": ("IMAGE",),
                "standardise": ("BOOLEAN", {"default": True}),
            }
        }

    @torch.no_grad()
    def encode(
        self, ssvae: AutoencoderKLSSVAE, images: torch.Tensor, standardise: bool
    ) -> tuple[dict[str, Any]]:
        """Images (T, H, W, 3 or 4) in [0, 1] to a latent; alpha is left out but by models of four
        channels.

        ``standardise`` gives channels of mean 0 and deviation 1 by the model's config, as diffusion
        models want them.
        """
        frames, height, width = images.shape[:3]
        clip = _clip(images, ssvae.config["in_channels"])[None]
        side = ssvae.space_factor
        clip = F.pad(clip, (0, -width % side, 0, -height % side, 0, 0), mode="replicate")
        z = ssvae.encode(clip.to(ssvae.device, ssvae.dtype), pad=True).latent_dist.mean
        if standardise:
            mean, std = _statistics(ssvae, z)
            z = (z - mean) / std
        facts = {SIZE: (frames, height, width), MADE_BY: FINGERPRINTS.get(ssvae, "")}
        return ({"samples": z.float().cpu(), **facts},)


class SSVAEDecode:
    """Latents to frames."""

    CATEGORY, FUNCTION = CATEGORY, "decode"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("images",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """What ComfyUI draws."""
        return {
            "required": {
                "ssvae": ("SSVAE",),
                "latent": ("LATENT",),
                "standardised": ("BOOLEAN", {"default": True}),
                "tile": ("INT", {"default": 0, "min": 0, "max": 8192, "step": 32}),
            }
        }

    @torch.no_grad()
    def decode(
        self, ssvae: AutoencoderKLSSVAE, latent: dict[str, Any], standardised: bool, tile: int
    ) -> tuple[torch.Tensor]:
        """A latent of (B, C, t, h, w), or an image's (B, C, h, w), to images (B T, H, W, 3) in [0,
        1], or (B T, H, W, 4) by a model of four channels.

        ``tile`` is the side in pixels of overlapping tiles for frames too large for memory; 0 has
        none.
        """
        if not same_latents(latent.get(MADE_BY, ""), FINGERPRINTS.get(ssvae, "")):
            raise ValueError(
                "the latent is of another VAE's latents: connect the model that encoded it"
            )
        z = latent["samples"].to(ssvae.device, ssvae.dtype)
        z = z[:, :, None] if z.ndim == 4 else z
        if standardised:
            mean, std = _statistics(ssvae, z)
            z = z * std + mean
        if tile:
            ssvae.enable_tiling(tile, tile)
        try:
            clips = ssvae.decode(z).sample
        finally:
            ssvae.disable_tiling()
        frames, height, width = _size(ssvae, latent, z)
        clips = clips[:, :, :frames, :height, :width].float().cpu()
        return (_images(clips.transpose(1, 2).flatten(0, 1)),)


def _clip(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Images (T, H, W, 3 or 4) in [0, 1] as a clip (C, T, H, W) in [-1, 1], alpha premultiplied."""
    unit = images.permute(3, 0, 1, 2)
    if channels == 4 == len(unit):
        return torch.cat([unit[:3] * unit[3:], unit[3:]]) * 2 - 1
    return of_colours(unit[:3] * 2 - 1, channels)


def _images(frames: torch.Tensor) -> torch.Tensor:
    """Frames (T, C, H, W) in [-1, 1] as images (T, H, W, 3 or 4) in [0, 1], colours as they are."""
    unit = ((frames + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
    if unit.shape[-1] == 4:
        alpha = unit[..., 3:]
        unit = torch.cat([(unit[..., :3] / alpha.clamp(min=1e-6)).clamp(0, 1), alpha], -1)
    return unit.expand(-1, -1, -1, 3) if unit.shape[-1] == 1 else unit


def _size(
    ssvae: AutoencoderKLSSVAE, latent: dict[str, Any], z: torch.Tensor
) -> tuple[int, int, int]:
    """Frames, height and width to keep: what was encoded, unless other nodes changed the latents'
    size.
    """
    side, time = ssvae.space_factor, ssvae.time_factor
    frames, height, width = latent.get(SIZE, (0, 0, 0))
    if (-(-(frames - 1) // time) + 1, -(-height // side), -(-width // side)) == tuple(z.shape[2:]):
        return frames, height, width
    return 1 + (z.shape[2] - 1) * time, z.shape[3] * side, z.shape[4] * side


def _statistics(ssvae: AutoencoderKLSSVAE, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = (
        torch.tensor(ssvae.config[name], device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)
        for name in ("latents_mean", "latents_std")
    )
    return mean, std


NODE_CLASS_MAPPINGS = {
    "SSVAELoad": SSVAELoad,
    "SSVAEEncode": SSVAEEncode,
    "SSVAEDecode": SSVAEDecode,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "SSVAELoad": "Load SSVAE",
    "SSVAEEncode": "Encode with SSVAE",
    "SSVAEDecode": "Decode with SSVAE",
}
