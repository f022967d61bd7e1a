"""Any video VAE behind one protocol: ours, and those of diffusers.

Shape legend: B clips, T frames, H, W pixels; C, t, h, w channels and sides of the latents.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.blocks import channels_last
from ssvae.models.posterior import Deterministic, DiagonalGaussian
from ssvae.models.shipped import shipped_folder
from ssvae.storage.digests import check_whole

Posterior = DiagonalGaussian | Deterministic


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
    of_images: bool = False
    """Whether it encodes images, and so each frame of a clip for itself."""
    has_variance: bool = True
    """Whether the posterior has one, beside its mean."""
    in_channels: int = 3
    """Of clips that it encodes: see :mod:`ssvae.data.pixels`."""
    out_channels: int = 3
    """Of clips that it decodes."""
    fills_first: bool = False
    """Whether the first frame is to be repeated, up to ``time_factor`` times, before it is
    encoded."""


def common_period(layouts: Iterable[Layout]) -> tuple[int, int]:
    """Frames and pixels a latent that suit all of these."""
    each = list(layouts)
    return (
        math.lcm(*(layout.time_factor for layout in each)),
        math.lcm(*(layout.space_factor for layout in each)),
    )


def common_channels(layouts: Iterable[Layout]) -> int:
    """Channels of the clips that all of these take and make; a ValueError where they differ."""
    (first, *others) = {n for layout in layouts for n in (layout.in_channels, layout.out_channels)}
    if others:
        counts = " and ".join(map(str, sorted([first, *others])))
        raise ValueError(
            f"what goes in and comes out has {counts} channels, which cannot be compared: "
            "in_channels and out_channels must be equal, and those of all models"
        )
    return first


def _layout(config: Any, channels: int, time_factor: int, space_factor: int, **more: Any) -> Layout:
    mean, std = config.get("latents_mean"), config.get("latents_std")
    scale = config.get("scaling_factor") or 1.0
    return Layout(
        channels,
        time_factor,
        space_factor,
        tuple(mean) if mean is not None else (0.0,) * channels,
        tuple(std) if std is not None else (1 / scale,) * channels,
        **more,
    )


def _like_wan(config: Any, **more: Any) -> Layout:
    factors = config["scale_factor_temporal"], config["scale_factor_spatial"]
    return _layout(config, config["z_dim"], *factors, **more)


def _ours(config: Any) -> Layout:
    # Wan's own counts the channels of its patches too.
    return _like_wan(config, **_clip_channels(config))


def _clip_channels(config: Any) -> dict[str, int]:
    return {name: config[name] for name in ("in_channels", "out_channels")}


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
            "this AutoencoderKLLTXVideo decodes by a noise level too (timestep_conditioning), "
            "which a plain VAE has not: choose one without"
        )
    halvings = sum(config["spatio_temporal_scaling"])
    time = config["temporal_compression_ratio"] or config["patch_size_t"] * 2**halvings
    space = config["spatial_compression_ratio"] or config["patch_size"] * 2**halvings
    return _layout(config, config["latent_channels"], time, space)


def _mochi(config: Any) -> Layout:
    factors = math.prod(config["temporal_expansions"]), math.prod(config["spatial_expansions"])
    return _layout(config, config["latent_channels"], *factors)


def _cosmos(config: Any) -> Layout:
    factors = config["temporal_compression_ratio"], config["spatial_compression_ratio"]
    channels = config["latent_channels"]
    # Its statistics are written frame by frame.
    plain = {
        name: None if len(config.get(name) or ()) != channels else config[name]
        for name in ("latents_mean", "latents_std")
    }
    return _layout(dict(config) | plain, channels, *factors, has_variance=False)


def _vidtok(config: Any) -> Layout:
    if config["regularizer"] != "kl" or not config["is_causal"]:
        raise ValueError(
            "this AutoencoderVidTok has "
            + ("discrete latents" if config["regularizer"] != "kl" else "no causal time")
            + ", got regularizer={regularizer!r} and is_causal={is_causal}: choose one with the kl "
            "regularizer that is causal".format(**config)
        )
    levels = len(config["ch_mult"])
    space = config["spatial_ds"] if config["spatial_ds"] is not None else range(levels - 1)
    time = config["tempo_ds"] if config["tempo_ds"] is not None else range(levels - 3, levels - 1)
    factors = 2 ** len(time), 2 ** len(space)
    return _layout(config, config["z_channels"], *factors, fills_first=True)


def _image(config: Any) -> Layout:
    space = 2 ** (len(config["block_out_channels"]) - 1)
    channels = config["latent_channels"]
    return _layout(config, channels, 1, space, of_images=True, **_clip_channels(config))


LAYOUTS: dict[str, Callable[[Any], Layout]] = {
    "AutoencoderKLSSVAE": _ours,
    "AutoencoderKLWan": _like_wan,
    "AutoencoderKLCogVideoX": _cogvideox,
    "AutoencoderKLHunyuanVideo": _hunyuan,
    "AutoencoderKLLTXVideo": _ltx,
    "AutoencoderKLMochi": _mochi,
    "AutoencoderKLCosmos": _cosmos,
    "AutoencoderVidTok": _vidtok,
    "AutoencoderKL": _image,
}

# What the last layers of encoders and decoders are called; the first that a model has.
ENCODERS_LAST = ("quant_conv", "encoder.conv_out", "encoder.proj_out")
DECODERS_LAST = ("decoder.conv_out", "decoder.proj_out")


class Backbone:
    """A video VAE seen through what all of them have in common.

    Args:
        vae: a model whose class stands in :data:`LAYOUTS`, or any, with its ``layout``.
        layout: needed for other classes.
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

    @property
    def clip_channels(self) -> int:
        """Channels of its clips; a ValueError where it decodes others than it encodes."""
        return common_channels([self.layout])

    @property
    def lone_first_frame(self) -> bool:
        """Whether the first latent frame stands for one frame of video, the rest for several."""
        return not self.layout.of_images

    def encode(self, clips_BCTHW: torch.Tensor, train: bool = False) -> Posterior:
        """Clips (B, 3, T, H, W) in [-1, 1] to a posterior over latents (B, C, t, h, w).

        Of another number of channels where its layout says so. Gradients are kept with ``train``
        alone.
        """
        self.latent_shape(*clips_BCTHW.shape[2:])
        if clips_BCTHW.shape[1] != self.layout.in_channels:
            raise ValueError(
                f"this {self.name} takes clips of {self.layout.in_channels} channels, got "
                f"{clips_BCTHW.shape[1]}"
            )
        clips = clips_BCTHW.to(self.vae.device, self.vae.dtype)
        with torch.set_grad_enabled(train and torch.is_grad_enabled()):
            moments = self._over_frames(self._moments, clips)
        return self.posterior(moments)

    def posterior(self, moments: torch.Tensor) -> Posterior:
        """Moments, (B, 2C, t, h, w) or (B, C, t, h, w) without a variance, to their posterior."""
        return (DiagonalGaussian if self.layout.has_variance else Deterministic)(moments)

    def decode(self, z: torch.Tensor, train: bool = False) -> torch.Tensor:
        """Latents (B, C, t, h, w) to clips (B, 3, T, H, W), not clamped."""
        with torch.set_grad_enabled(train and torch.is_grad_enabled()):
            return self._over_frames(self._decoded, z.to(self.vae.device, self.vae.dtype))

    def _moments(self, clips: torch.Tensor) -> torch.Tensor:
        if self.layout.fills_first:
            repeats = clips[:, :, :1].expand(-1, -1, self.layout.time_factor - 1, -1, -1)
            clips = torch.cat([repeats, clips], 2)
        # The mean of diffusers' own class lies in its parameters, whatever else it holds.
        return self.vae.encode(clips).latent_dist.parameters

    def _decoded(self, z: torch.Tensor) -> torch.Tensor:
        decoded = self.vae.decode(z)
        return decoded if isinstance(decoded, torch.Tensor) else decoded.sample

    def _over_frames(
        self, run: Callable[[torch.Tensor], torch.Tensor], x_BCTHW: torch.Tensor
    ) -> torch.Tensor:
        """A clip as one, or frame by frame where the model is one of images."""
        if not self.layout.of_images:
            return run(x_BCTHW)
        B, _, T = x_BCTHW.shape[:3]
        return run(x_BCTHW.transpose(1, 2).flatten(0, 1)).unflatten(0, (B, T)).transpose(1, 2)

    @property
    def encoders_last_layer(self) -> nn.Module:
        """The layer that makes the moments."""
        return self._last_layer(ENCODERS_LAST)

    @property
    def decoders_last_layer(self) -> nn.Module:
        """The layer that makes the clip."""
        return self._last_layer(DECODERS_LAST)

    def _last_layer(self, names: tuple[str, ...]) -> nn.Module:
        modules = dict(self.vae.named_modules())
        found = [modules[name] for name in names if name in modules]
        if not found:
            raise ValueError(
                f"{self.name} has none of the layers {', '.join(names)}, where penalties are "
                "weighed: its name must stand in ssvae.models.backbones"
            )
        weighted = [
            m for m in found[0].modules() if isinstance(getattr(m, "weight", None), nn.Parameter)
        ]
        return weighted[-1]

    def freeze_encoder(self) -> None:
        """Leave the latents as they are: only what decodes takes gradients."""
        for name, parameter in self.vae.named_parameters():
            decodes = name.split(".")[0] in ("decoder", "post_quant_conv")
            parameter.requires_grad_(decodes and parameter.requires_grad)

    def compile(self) -> None:
        """Compile the blocks that repeat; a ValueError where the model does not name them."""
        if not getattr(self.vae, "_repeated_blocks", None):
            raise ValueError(f"{self.name} names no blocks that repeat: leave out --compile")
        # Blocks of one class see many shapes, each of which is a graph: 21 in the published model.
        torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
        self.vae.compile_repeated_blocks()

    def enable_gradient_checkpointing(self) -> None:
        """Compute activations twice, to keep few; a ValueError where the model cannot."""
        if not self.vae._supports_gradient_checkpointing:
            raise ValueError(
                f"{self.name} cannot train under gradient checkpointing (it keeps its feature "
                "cache in the module, or has no support for it): use smaller or fewer clips"
            )
        self.vae.enable_gradient_checkpointing()


def load_backbone(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    classes: Collection[str] = tuple(LAYOUTS),
) -> Backbone:
    """The VAE in a folder that ``save_pretrained`` wrote, to evaluate.

    ``path`` may also be a shipped model's name (``ssvae/tiny``) or a hub id, ``owner/name`` or
    ``owner/name/subfolder``. Its config.json names its class, one of ``classes``. Nothing is
    unpickled: weights must be safetensors. On the device "meta" it has its shape alone, and no
    weights are read.
    """
    where: dict[str, Any] = {}
    path = shipped_folder(str(path)) or path
    if torch.device(device).type != "meta":
        check_whole(Path(path))
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
        if torch.device(device).type == "meta":
            with torch.device("meta"):
                return Backbone(model.from_config(config))
        vae, loading = model.from_pretrained(
            folder,
            torch_dtype=dtype,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            **where,
        )
        if missing := loading["missing_keys"]:
            raise ValueError(
                f"its weights lack {len(missing)} of the model's, {sorted(missing)[0]} among them"
            )
    except Exception as error:
        raise ValueError(f"the model in {path} does not load: {error}") from error
    return Backbone((channels_last(vae) if own else vae).to(device).eval())
