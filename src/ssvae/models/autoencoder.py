"""The autoencoder: a causal video VAE from 1 M to 315 M parameters, by configuration.

Shape legend: B batch, C channels, T frames, H height, W width of the clip; z, t, h, w those of
its latents. A clip of 4n + 1 frames becomes n + 1 latent frames at four times compression.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Literal, overload

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from ssvae.models.blocks import CausalConv3d, FrameAttention, ResidualBlock, RMSNorm
from ssvae.models.config import PRESETS, AutoencoderConfig
from ssvae.models.posterior import DiagonalGaussian
from ssvae.models.resample import Downsample, Upsample, channel_to_space, space_to_channel

INITIAL_LOGVAR = -6.0


class Level(nn.Module):
    """Residual blocks at one resolution, then the way to the next."""

    def __init__(self, blocks: list[nn.Module], resample: Downsample | Upsample | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        # Named as in the published checkpoint, so that keys map one to one.
        if isinstance(resample, Downsample):
            self.downsample = resample
        elif resample is not None:
            self.upsample = resample


def _stages(levels: nn.ModuleList) -> Iterator[nn.Module]:
    """What a clip passes in these levels, in order: blocks one by one, then the resampling."""
    for level in levels:
        assert isinstance(level, Level)
        yield from level.blocks
        yield from (m for m in level.children() if m is not level.blocks)


class _Coder(nn.Module):
    """What encoder and decoder have in common: stages that can be checkpointed, one by one."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Any = None  # set by diffusers' enable_gradient_checkpointing

    def _run(self, stages: Iterable[nn.Module], x: torch.Tensor) -> torch.Tensor:
        for stage in stages:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = self._gradient_checkpointing_func(stage, x)
            else:
                x = stage(x)
        return x


def _residuals(in_channels: int, out_channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(a, b) for a, b in pairwise([in_channels] + [out_channels] * count)]


def _middle(width: int, kinds: tuple[str, ...], config: AutoencoderConfig) -> list[nn.Module]:
    kept = [kind for kind in kinds if kind == "residual" or config.attention]
    make = {
        "residual": lambda: ResidualBlock(width, width),
        "attention": lambda: FrameAttention(width),
    }
    return [make[kind]() for kind in kept]


class Encoder(_Coder):
    """Clips (B, 3, T, H, W) to moments (B, 2 z, t, h, w)."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        widths = [config.base_channels * m for m in config.channel_multipliers]
        self.patch_size = config.patch_size
        self.conv_in = CausalConv3d(3 * config.patch_size**2, config.base_channels)
        self.down = nn.ModuleList()
        incoming = config.base_channels
        for i, width in enumerate(widths):
            down = None
            if i < len(widths) - 1:
                factors = config.time_factors[i], config.space_factors[i]
                down = Downsample(width, widths[i + 1], *factors)
            self.down.append(Level(_residuals(incoming, width, config.encoder_blocks), down))
            incoming = widths[min(i + 1, len(widths) - 1)]
        top = widths[-1]
        self.mid = nn.ModuleList(_middle(top, ("residual", "attention") * 2, config))
        self.norm_out = RMSNorm(top)
        self.conv_out = CausalConv3d(top, 2 * config.z_dim)
        # A fresh posterior is narrow, or training would begin by learning to outshout its noise.
        assert self.conv_out.bias is not None
        nn.init.constant_(self.conv_out.bias.data[config.z_dim :], INITIAL_LOGVAR)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Clips to moments."""
        x = space_to_channel(x_BCTHW, 1, self.patch_size)
        x = self._run([*_stages(self.down), *self.mid], self.conv_in(x))
        return self.conv_out(nn.functional.silu(self.norm_out(x)))


class Decoder(_Coder):
    """Latents (B, z, t, h, w) to clips (B, 3, T, H, W)."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        widths = [config.base_channels * m for m in config.channel_multipliers][::-1]
        self.patch_size = config.patch_size
        top = widths[0]
        self.conv_in = CausalConv3d(config.z_dim, top)
        self.mid = nn.ModuleList(_middle(top, ("residual", "attention", "residual"), config))
        self.up = nn.ModuleList()
        factors = list(zip(config.time_factors, config.space_factors, strict=True))[::-1]
        for i, width in enumerate(widths):
            up = Upsample(width, widths[i + 1], *factors[i]) if i < len(factors) else None
            self.up.append(Level(_residuals(width, width, config.decoder_blocks), up))
        self.norm_out = RMSNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 3 * config.patch_size**2)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Latents to clips."""
        x = self._run([*self.mid, *_stages(self.up)], self.conv_in(z))
        x = self.conv_out(nn.functional.silu(self.norm_out(x)))
        return channel_to_space(x, 1, self.patch_size)


class AutoencoderKLSSVAE(ModelMixin, AutoencoderMixin, ConfigMixin):
    """The video VAE of SSVAE (arXiv 2512.05394), as a diffusers model.

    Clips are (B, 3, T, H, W) floats in [-1, 1]; images are clips of one frame. Arguments are the
    fields of :class:`AutoencoderConfig`. ``scale_factor_temporal`` and ``scale_factor_spatial``
    follow from these; they stand in the config because pipelines read them there.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        z_dim: int = 48,
        base_channels: int = 32,
        channel_multipliers: tuple[int, ...] = (2, 4, 8, 16, 16),
        encoder_blocks: int = 3,
        decoder_blocks: int = 4,
        time_factors: tuple[int, ...] = (1, 1, 2, 2),
        space_factors: tuple[int, ...] = (2, 2, 2, 2),
        patch_size: int = 1,
        attention: bool = True,
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
        scale_factor_temporal: int | None = None,
        scale_factor_spatial: int | None = None,
    ):
        super().__init__()
        config = AutoencoderConfig(
            z_dim=z_dim,
            base_channels=base_channels,
            channel_multipliers=tuple(channel_multipliers),
            encoder_blocks=encoder_blocks,
            decoder_blocks=decoder_blocks,
            time_factors=tuple(time_factors),
            space_factors=tuple(space_factors),
            patch_size=patch_size,
            attention=attention,
            latents_mean=tuple(latents_mean) if latents_mean is not None else None,
            latents_std=tuple(latents_std) if latents_std is not None else None,
        )
        if problems := config.problems():
            raise ValueError("; ".join(problems))
        self.time_factor = math.prod(time_factors)
        self.space_factor = patch_size * math.prod(space_factors)
        for name, given, actual in (
            ("scale_factor_temporal", scale_factor_temporal, self.time_factor),
            ("scale_factor_spatial", scale_factor_spatial, self.space_factor),
        ):
            if given not in (None, actual):
                raise ValueError(
                    f"{name} follows from the other settings and is {actual}, got {given}: "
                    "leave it out"
                )
        self.register_to_config(
            latents_mean=list(config.latents_mean or [0.0] * z_dim),
            latents_std=list(config.latents_std or [1.0] * z_dim),
            scale_factor_temporal=self.time_factor,
            scale_factor_spatial=self.space_factor,
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.use_slicing = False

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> "AutoencoderKLSSVAE":
        """A model with fresh random weights in a preset's shape.

        ``overrides`` replace fields of the preset's :class:`AutoencoderConfig`.
        """
        if name not in PRESETS:
            raise ValueError(f"no preset is called {name!r}: choose from {', '.join(PRESETS)}")
        return cls(**{**vars(PRESETS[name]), **overrides})

    @overload
    def encode(
        self, x: torch.Tensor, pad: bool = ..., return_dict: Literal[True] = ...
    ) -> AutoencoderKLOutput: ...

    @overload
    def encode(
        self, x: torch.Tensor, pad: bool = ..., *, return_dict: Literal[False]
    ) -> tuple[DiagonalGaussian]: ...

    def encode(
        self, x: torch.Tensor, pad: bool = False, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussian]:
        """Clips (B, 3, T, H, W) in [-1, 1] to a posterior over latents (B, z, t, h, w).

        T must be 4n + 1 and H, W multiples of the compression. ``pad=True`` repeats the last
        frame up to such a length; ``decode(z, num_frames=T)`` cuts the repeats off again.
        """
        if pad and x.ndim == 5:
            x = torch.cat([x, *[x[:, :, -1:]] * (-(x.shape[2] - 1) % self.time_factor)], 2)
        self._check_clip(x)
        parts = x.split(1) if self.use_slicing else [x]
        moments = torch.cat([self.encoder(part) for part in parts])
        posterior = DiagonalGaussian(moments)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @overload
    def decode(
        self, z: torch.Tensor, num_frames: int | None = ..., return_dict: Literal[True] = ...
    ) -> DecoderOutput: ...

    @overload
    def decode(
        self, z: torch.Tensor, num_frames: int | None = ..., *, return_dict: Literal[False]
    ) -> tuple[torch.Tensor]: ...

    def decode(
        self, z: torch.Tensor, num_frames: int | None = None, return_dict: bool = True
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """Latents (B, z, t, h, w) to clips (B, 3, T, H, W), not clamped.

        ``num_frames`` keeps that many frames from the start.
        """
        if z.ndim != 5 or z.shape[1] != self.config["z_dim"]:
            raise ValueError(
                f"latents must be (batch, {self.config['z_dim']}, frames, height, width), "
                f"got {tuple(z.shape)}"
            )
        longest = 1 + (z.shape[2] - 1) * self.time_factor
        if num_frames is not None and not 1 <= num_frames <= longest:
            raise ValueError(
                f"num_frames must be 1 to {longest} for {z.shape[2]} latent frames, "
                f"got {num_frames}"
            )
        parts = z.split(1) if self.use_slicing else [z]
        clips = torch.cat([self.decoder(part) for part in parts])[:, :, :num_frames]
        return DecoderOutput(sample=clips) if return_dict else (clips,)

    def forward(
        self,
        x: torch.Tensor,
        sample_posterior: bool = False,
        generator: torch.Generator | None = None,
    ) -> DecoderOutput:
        """Encode and decode: from the posterior's mean, or from a sample of it."""
        posterior = self.encode(x, return_dict=False)[0]
        z = posterior.sample(generator) if sample_posterior else posterior.mode()
        return DecoderOutput(sample=self.decode(z, return_dict=False)[0])

    def _check_clip(self, x: torch.Tensor) -> None:
        if x.ndim != 5 or x.shape[1] != 3:
            raise ValueError(
                f"a clip must be (batch, 3, frames, height, width), got {tuple(x.shape)}: an image "
                "is a clip of one frame, x.unsqueeze(2)"
            )
        if not x.is_floating_point():
            raise ValueError(
                f"a clip must hold floating-point numbers in [-1, 1], got {x.dtype}: "
                "for bytes, x.float() / 127.5 - 1"
            )
        B, _, T, H, W = x.shape
        if B == 0 or T == 0:
            raise ValueError(f"a clip must hold at least one frame, got {tuple(x.shape)}")
        step, side = self.time_factor, self.space_factor
        if (T - 1) % step:
            below = T - 1 - (T - 1) % step + 1
            raise ValueError(
                f"the number of frames must be {step}n + 1, got {T}: cut the clip to {below}, fill "
                f"it up to {below + step}, or let encode(x, pad=True) repeat the last frame and "
                f"decode(z, num_frames={T}) cut it off again"
            )
        if H % side or W % side or not H or not W:
            fit = [max(side, n - n % side) for n in (H, W)]
            raise ValueError(
                f"height and width must be multiples of {side}, got {H}x{W}: crop the clip to "
                f"{fit[0]}x{fit[1]}, or pad it and crop the reconstruction"
            )
