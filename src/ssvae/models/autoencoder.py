"""The autoencoder: a causal video VAE from 1 M to 315 M parameters, by configuration.

Shape legend: B batch, C channels, T frames, H height, W width of the clip; z, t, h, w those of
its latents. A clip of 4n + 1 frames becomes n + 1 latent frames at four times compression.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, overload

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from ssvae.models.blocks import CausalConv3d, FrameAttention, ResidualBlock, RMSNorm
from ssvae.models.posterior import DiagonalGaussian
from ssvae.models.resample import Downsample, Upsample, channel_to_space, space_to_channel

INITIAL_LOGVAR = -6.0


@dataclass(frozen=True)
class AutoencoderConfig:
    """The shape of an :class:`AutoencoderKLSSVAE`. The defaults are the published model's."""

    z_dim: int = 48
    """Latent channels."""
    base_channels: int = 32
    """Width of the first convolution; each level's is this times its multiplier."""
    channel_multipliers: tuple[int, ...] = (2, 4, 8, 16, 16)
    """One for each level, from the pixels to the latents."""
    encoder_blocks: int = 3
    """Residual blocks in each level of the encoder."""
    decoder_blocks: int = 4
    """Residual blocks in each level of the decoder."""
    time_factors: tuple[int, ...] = (1, 1, 2, 2)
    """Downsampling in time, 1 or 2, between one level and the next."""
    space_factors: tuple[int, ...] = (2, 2, 2, 2)
    """Downsampling in height and width, 1 or 2, between one level and the next."""
    patch_size: int = 1
    """Side of the squares of pixels that are folded into channels before the first level."""
    attention: bool = True
    """Self-attention inside each frame, at the latents' resolution; its cost grows with the square
    of a frame's latents."""
    latents_mean: tuple[float, ...] | None = None
    """Mean of each latent channel over a data set; zeros where None."""
    latents_std: tuple[float, ...] | None = None
    """Standard deviation of each latent channel over a data set; ones where None."""


PRESETS: dict[str, AutoencoderConfig] = {
    # Made to train on two cores: 4x time, 4x space, 16 channels. Without attention what it learns
    # on small clips holds for large ones, at a cost that grows with their size alone.
    "tiny": AutoencoderConfig(
        z_dim=16,
        base_channels=24,
        channel_multipliers=(1, 2, 2),
        encoder_blocks=1,
        decoder_blocks=1,
        time_factors=(2, 2),
        space_factors=(2, 1),
        patch_size=2,
        attention=False,
    ),
    # arXiv 2512.05394: the published model with its published latent statistics.
    "ssvae-c48-f16t4": AutoencoderConfig(
        latents_mean=(
            -0.1962890625,
            0.52734375,
            -1.3984375,
            0.57421875,
            0.09326171875,
            0.734375,
            -0.427734375,
            -0.50390625,
            0.54296875,
            0.0986328125,
            -0.67578125,
            0.15625,
            0.9453125,
            -0.091796875,
            0.2333984375,
            -0.10986328125,
            -0.049560546875,
            0.74609375,
            -0.76171875,
            -0.484375,
            0.2236328125,
            0.5390625,
            0.2255859375,
            -0.474609375,
            -0.126953125,
            -0.0341796875,
            0.023681640625,
            -0.0211181640625,
            -1.015625,
            -0.60546875,
            0.98046875,
            -0.796875,
            -0.1884765625,
            -0.4296875,
            0.283203125,
            0.34375,
            -0.490234375,
            0.021484375,
            0.251953125,
            -0.08154296875,
            -0.5234375,
            0.236328125,
            -0.1826171875,
            -0.73828125,
            -0.1796875,
            -0.6015625,
            0.34375,
            -0.74609375,
        ),
        latents_std=(
            0.69140625,
            0.98828125,
            2.015625,
            1.1640625,
            0.64453125,
            1.015625,
            1.546875,
            0.71484375,
            1.359375,
            0.96875,
            2.0,
            0.8828125,
            1.40625,
            1.046875,
            0.85546875,
            1.0234375,
            0.88671875,
            1.15625,
            1.3125,
            0.984375,
            1.1328125,
            1.8046875,
            1.21875,
            0.98046875,
            1.0859375,
            0.96875,
            1.046875,
            1.0234375,
            1.515625,
            1.234375,
            1.796875,
            1.5234375,
            1.1015625,
            1.1484375,
            0.94140625,
            1.1015625,
            1.3203125,
            1.2265625,
            1.359375,
            1.09375,
            0.953125,
            0.73046875,
            0.97265625,
            1.265625,
            1.1953125,
            1.1171875,
            0.83203125,
            1.4140625,
        ),
    ),
}


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
    """What encoder and decoder have in common: a list of stages, and checkpointing of each."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Any = None  # set by diffusers' enable_gradient_checkpointing

    def _stages(self) -> list[nn.Module]:
        raise AssertionError("each coder lists its stages")

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self._stages():
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

    def _stages(self) -> list[nn.Module]:
        return [*_stages(self.down), *self.mid]

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Clips to moments."""
        x = space_to_channel(x_BCTHW, 1, self.patch_size)
        x = self._run(self.conv_in(x))
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

    def _stages(self) -> list[nn.Module]:
        return [*self.mid, *_stages(self.up)]

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Latents to clips."""
        x = self._run(self.conv_in(z))
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
        _check_config(config)
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


def _check_config(config: AutoencoderConfig) -> None:
    """All that is wrong with a config, in one ValueError."""
    wrong = []
    transitions = len(config.channel_multipliers) - 1
    for name in ("time_factors", "space_factors"):
        factors = getattr(config, name)
        if len(factors) != transitions or any(f not in (1, 2) for f in factors):
            wrong.append(
                f"{name} must hold a 1 or 2 for each of the {max(transitions, 0)} steps between "
                f"the {len(config.channel_multipliers)} levels of channel_multipliers, "
                f"got {factors}"
            )
    if not wrong and any(
        t == s == 1 for t, s in zip(config.time_factors, config.space_factors, strict=True)
    ):
        wrong.append("each step between levels must halve time or space or both")
    for name in ("z_dim", "base_channels", "encoder_blocks", "decoder_blocks", "patch_size"):
        if getattr(config, name) < 1:
            wrong.append(f"{name} must be at least 1, got {getattr(config, name)}")
    if not config.channel_multipliers or min(config.channel_multipliers) < 1:
        wrong.append(
            f"channel_multipliers must hold positive integers, got {config.channel_multipliers}"
        )
    for name in ("latents_mean", "latents_std"):
        values = getattr(config, name)
        if values is not None and len(values) != config.z_dim:
            wrong.append(f"{name} must hold {config.z_dim} numbers (z_dim), got {len(values)}")
    if wrong:
        raise ValueError("; ".join(wrong))
