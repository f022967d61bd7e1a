"""A VAE with a map of its latents inside: pipelines see mapped latents and know nothing of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ssvae.latents.maps import LatentMap
from ssvae.models import AutoencoderKLSSVAE, DiagonalGaussian
from ssvae.models.backbones import Backbone
from ssvae.models.classes import CLASSES
from ssvae.models.fingerprint import check_same_latents
from ssvae.storage.files import check_replaced, replacing

MAP_FORMAT = "ssvae map 1"


class MappedAutoencoder(ModelMixin, ConfigMixin):
    """Any VAE of :data:`ssvae.models.classes.CLASSES` whose latents pass through a map.

    ``encode`` maps what the VAE gives, ``decode`` undoes the map first. The config has the names
    that ``WanPipeline`` reads, with statistics of mean 0 and deviation 1, for the map is made so
    that its latents need no others. The arguments only describe what is inside; build one with
    :meth:`of`.
    """

    __module__ = "ssvae"  # where a saved pipeline names it, and importing ssvae alone offers it
    _keep_in_fp32_modules: ClassVar[list[str]] = ["map"]

    @register_to_config
    def __init__(
        self,
        vae_class: str | None,
        vae_config: dict[str, Any] | None,
        latent_size: tuple[int, int, int] | None = None,
        tilted: bool = False,
        scrambled: bool = False,
        z_dim: int | None = None,
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
        scale_factor_temporal: int | None = None,
        scale_factor_spatial: int | None = None,
    ):
        super().__init__()
        if vae_class is not None:
            if vae_class not in CLASSES:
                raise ValueError(f"vae_class must be one of {', '.join(CLASSES)}, got {vae_class}")
            own = vae_class == AutoencoderKLSSVAE.__name__
            kind: Any = AutoencoderKLSSVAE if own else getattr(diffusers, vae_class)
            self._hold(Backbone(kind.from_config(vae_config)))
            z_dim = self.inside.layout.channels
            scale_factor_temporal = self.inside.layout.time_factor
            scale_factor_spatial = self.inside.layout.space_factor
        assert z_dim is not None
        C = z_dim
        size = tuple(latent_size or ())
        order = torch.arange(int(torch.tensor(size).prod())).view(size) if scrambled else None
        self.map = LatentMap(
            torch.zeros(C), torch.eye(C), torch.ones(size) if tilted else None, order
        )
        self.register_to_config(
            z_dim=C,
            latents_mean=[0.0] * C,
            latents_std=[1.0] * C,
            scale_factor_temporal=scale_factor_temporal,
            scale_factor_spatial=scale_factor_spatial,
        )

    def _hold(self, backbone: Backbone) -> None:
        self.inside, self.vae = backbone, backbone.vae

    @classmethod
    def of(cls, backbone: Backbone, latent_map: LatentMap) -> "MappedAutoencoder":
        """Put a map around a VAE; both are held, not copied.

        Of a VAE of another class than those of :data:`CLASSES` it is not to be saved.
        """
        layout, known = backbone.layout, backbone.name in CLASSES
        config = backbone.vae.config.items() if known else ()
        mapped = cls(
            backbone.name if known else None,
            json.loads(json.dumps({k: v for k, v in config if not k.startswith("_")})),
            latent_map.size,
            latent_map.gain is not None,
            latent_map.order is not None,
            z_dim=layout.channels,
            scale_factor_temporal=layout.time_factor,
            scale_factor_spatial=layout.space_factor,
        )
        check_same_latents(
            "the map", latent_map.encoder, backbone.vae, "fit one to this VAE (ssvae fit-map)"
        )
        mapped._hold(backbone)
        mapped.map = latent_map.to(backbone.device)
        return mapped.eval()

    def backbone(self) -> Backbone:
        """Itself behind the protocol of all VAEs."""
        c: Any = self.config
        layout = replace(
            self.inside.layout,
            mean=tuple(c["latents_mean"]),
            std=tuple(c["latents_std"]),
            of_images=False,
            has_variance=True,
            lengths=self.inside.layout.clip_lengths,
        )
        return Backbone(self, layout)

    @apply_forward_hook
    def encode(
        self, x: torch.Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussian]:
        """Clips (B, 3, T, H, W) to a posterior over mapped latents, of no variance.

        Under a map that mixes channels or positions a diagonal Gaussian does not stay one, so what
        this gives is the mapped mean alone.
        """
        mean = self.map(self.inside.encode(x).mean)
        posterior = DiagonalGaussian(torch.cat([mean, torch.full_like(mean, -30.0)], 1))
        return AutoencoderKLOutput(posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(
        self, z: torch.Tensor, return_dict: bool = True
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """Mapped latents (B, C, t, h, w) to clips (B, 3, T, H, W), not clamped."""
        sample = self.inside.decode(self.map.inverse(z))
        return DecoderOutput(sample) if return_dict else (sample,)


def with_statistics(backbone: Backbone, latent_map: LatentMap) -> ModelMixin:
    """The VAE for a pipeline over latents that ``latent_map`` gave.

    Where the map only standardises and the VAE's config has places for the statistics that
    ``WanPipeline`` reads, it is the VAE itself with them filled in; else a mapped one.
    """
    check_same_latents("the map", latent_map.encoder, backbone.vae, "give the VAE that it is of")
    fits = backbone.name in ("AutoencoderKLSSVAE", "AutoencoderKLWan")
    if not (fits and latent_map.diagonal):
        return MappedAutoencoder.of(backbone, latent_map)
    mean, std = latent_map.mean.tolist(), (1 / latent_map.matrix.diagonal()).tolist()
    backbone.vae.register_to_config(latents_mean=mean, latents_std=std)
    return backbone.vae


def save_map(latent_map: LatentMap, path: str | Path) -> None:
    """Write a map as safetensors, with the fingerprint of its latents."""
    check_replaced(path, lambda facts: facts.get("format") == MAP_FORMAT, "a map")
    tensors = {k: v.contiguous() for k, v in latent_map.state_dict().items()}
    with replacing(Path(path)) as partial:
        save_file(tensors, partial, {"format": MAP_FORMAT, "encoder": latent_map.encoder})


def load_map(path: str | Path) -> LatentMap:
    """Read a map that :func:`save_map` wrote."""
    if not Path(path).is_file():
        raise ValueError(f"no map at {path}: ssvae fit-map writes one")
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
            facts = file.metadata() or {}
        fitted = LatentMap(state["mean"], state["matrix"], state.get("gain"), state.get("order"))
        fitted.encoder = facts.get("encoder", "")
        return fitted
    except (KeyError, RuntimeError, IndexError, SafetensorError) as error:
        raise ValueError(
            f"{path} is no map of latents ({error}): ssvae fit-map writes one"
        ) from error
