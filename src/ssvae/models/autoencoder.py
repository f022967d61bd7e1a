"""The autoencoder: a causal video VAE from 1 M to 315 M parameters, by configuration.

Shape legend: B batch, C channels, T frames, H height, W width of the clip; z, t, h, w those of
its latents. A clip of 4n + 1 frames becomes n + 1 latent frames at four times compression.
"""

import math
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Literal, Self, overload

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook

from ssvae.models.coder import Decoder, Encoder, piece_bytes
from ssvae.models.config import PRESETS, AutoencoderConfig
from ssvae.models.posterior import DiagonalGaussian
from ssvae.models.shipped import shipped_folder
from ssvae.models.streaming import Parts, Stream, Tiling, in_pieces, peek, recut
from ssvae.models.strips import Strips

MOST_AT_ONCE = 16  # frames, of a clip that goes on


class AutoencoderKLSSVAE(ModelMixin, AutoencoderMixin, ConfigMixin):
    """The video VAE of SSVAE (arXiv 2512.05394), as a diffusers model.

    Clips are (B, C, T, H, W) floats in [-1, 1], C being 3 for red, green and blue, 1 or 4 where the
    config says so (see :mod:`ssvae.data.pixels`); images are clips of one frame. Arguments are the
    fields of :class:`AutoencoderConfig`. ``scale_factor_temporal`` and ``scale_factor_spatial``
    follow from these; they stand in the config because pipelines read them there. ``halves`` names
    what was trained, of a student that is an encoder or a decoder alone; ``latents_of`` is the
    fingerprint of its teacher's latents (see :mod:`ssvae.models.fingerprint`).
    """

    __module__ = "ssvae"  # where a saved pipeline names it, and importing ssvae alone offers it
    _supports_gradient_checkpointing = True
    _repeated_blocks = ("ResidualBlock",)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Self:
        """As in diffusers; ``ssvae/tiny`` and its like are the models that come with the
        package.
        """
        folder = shipped_folder(str(pretrained_model_name_or_path))
        return super().from_pretrained(folder or pretrained_model_name_or_path, **kwargs)

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
        in_channels: int = 3,
        out_channels: int = 3,
        patch_size: int = 1,
        attention: bool = True,
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
        scale_factor_temporal: int | None = None,
        scale_factor_spatial: int | None = None,
        halves: Literal["both", "encoder", "decoder"] = "both",
        latents_of: str | None = None,
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
            in_channels=in_channels,
            out_channels=out_channels,
            patch_size=patch_size,
            attention=attention,
            latents_mean=tuple(latents_mean) if latents_mean is not None else None,
            latents_std=tuple(latents_std) if latents_std is not None else None,
        )
        self.time_factor = math.prod(time_factors)
        self.space_factor = patch_size * math.prod(space_factors)
        _check_factor("scale_factor_temporal", scale_factor_temporal, self.time_factor)
        _check_factor("scale_factor_spatial", scale_factor_spatial, self.space_factor)
        self.register_to_config(
            latents_mean=list(config.latents_mean or [0.0] * z_dim),
            latents_std=list(config.latents_std or [1.0] * z_dim),
            scale_factor_temporal=self.time_factor,
            scale_factor_spatial=self.space_factor,
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self._floats_per_pixel = config.widest_activation()
        self.use_slicing = self.use_tiling = self.use_streaming = False
        self._tiling: Tiling | None = None
        self._streaming_frames = 0

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

    @apply_forward_hook
    def encode(
        self, x: torch.Tensor, pad: bool = False, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[DiagonalGaussian]:
        """Clips (B, C, T, H, W) in [-1, 1] to a posterior over latents (B, z, t, h, w).

        T must be 4n + 1 and H, W multiples of the compression. ``pad=True`` repeats the last
        frame up to such a length; ``decode(z, num_frames=T)`` cuts the repeats off again.
        """
        self._check_half("encoder")
        self._check_frames(x)
        if pad:
            x = self._padded(x, 1)
        self._check_length(x.shape[2])
        unit, most = self.time_factor, self._at_once(x, 1)
        frames = (x.shape[2] - 1) // unit + 1

        def run(_: Hashable, part: torch.Tensor) -> torch.Tensor:
            if most is None:
                return self.encoder(part)[0]
            return in_pieces(self.encoder, part, unit, most, frames)

        posterior = DiagonalGaussian(self._parts(encoding=True).each(x, run))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @overload
    def decode(
        self, z: torch.Tensor, num_frames: int | None = ..., return_dict: Literal[True] = ...
    ) -> DecoderOutput: ...

    @overload
    def decode(
        self, z: torch.Tensor, num_frames: int | None = ..., *, return_dict: Literal[False]
    ) -> tuple[torch.Tensor]: ...

    @apply_forward_hook
    def decode(
        self, z: torch.Tensor, num_frames: int | None = None, return_dict: bool = True
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """Latents (B, z, t, h, w) to clips (B, C, T, H, W), not clamped.

        ``num_frames`` keeps that many frames from the start.
        """
        self._check_half("decoder")
        self._check_latents(z)
        longest = 1 + (z.shape[2] - 1) * self.time_factor
        if num_frames is not None and not 1 <= num_frames <= longest:
            raise ValueError(
                f"num_frames must be 1 to {longest} for {z.shape[2]} latent frames, "
                f"got {num_frames}"
            )
        most = self._at_once(z, self.space_factor)

        def run(_: Hashable, part: torch.Tensor) -> torch.Tensor:
            if most is None:
                return self.decoder(part)[0]
            return in_pieces(self.decoder, part, 1, most // self.time_factor, longest)

        clips = self._parts(encoding=False).each(z, run)[:, :, :num_frames]
        return DecoderOutput(sample=clips) if return_dict else (clips,)

    @apply_forward_hook
    def encode_stream(
        self, chunks: Iterable[torch.Tensor], pad: bool = False
    ) -> Iterator[DiagonalGaussian]:
        """Frames (B, C, t, H, W), cut into chunks anywhere, to posteriors (B, z, t', h, w).

        A posterior comes as soon as its frames are there; together they are the whole clip's. Where
        it is iterated without gradients, memory does not grow with length. All frames together must
        be 4n + 1, or ``pad=True`` repeats the last one; ``decode_stream`` then gives the repeats at
        its end.
        """
        self._check_half("encoder")
        first, chunks = peek(chunks, self._check_frames)
        unit, most = (
            self.time_factor,
            self.frames_at_once(first.shape[3], first.shape[4], len(first)),
        )
        stream = Stream(self.encoder, self._parts(encoding=True))
        frames = 0
        for piece in recut(chunks, unit, most):
            if frames and pad:
                piece = self._padded(piece, 0)
            frames += piece.shape[2]
            self._check_length(frames)
            yield DiagonalGaussian(stream(piece))

    @apply_forward_hook
    def decode_stream(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Latents (B, z, t, h, w), cut into chunks anywhere, to frames (B, C, T, H, W), not
        clamped.

        The first latent frame gives one frame, each later one four. Where it is iterated without
        gradients, memory does not grow with length.
        """
        self._check_half("decoder")
        first, chunks = peek(chunks, self._check_latents)
        height, width = (n * self.space_factor for n in first.shape[3:])
        most = self.frames_at_once(height, width, len(first))
        stream = Stream(self.decoder, self._parts(encoding=False))
        for piece in recut(chunks, 1, most // self.time_factor):
            yield stream(piece)

    def enable_streaming(self, frames: int = 16) -> None:
        """Let ``encode`` and ``decode`` take so many frames at once, also where gradients flow.

        Where none do, they take by themselves what is good for memory and speed.
        """
        if frames < 1 or frames % self.time_factor:
            raise ValueError(
                f"streaming takes a multiple of {self.time_factor} frames at once, got {frames}"
            )
        self.use_streaming, self._streaming_frames = True, frames

    def disable_streaming(self) -> None:
        """Undo :meth:`enable_streaming`."""
        self.use_streaming = False

    def enable_tiling(
        self,
        tile_sample_min_height: int | None = None,
        tile_sample_min_width: int | None = None,
        tile_sample_stride_height: int | None = None,
        tile_sample_stride_width: int | None = None,
    ) -> None:
        """Encode and decode frames larger than a tile in tiles that overlap and are blended.

        Sides are in pixels, multiples of the spatial compression. A tile is 256 pixels by default,
        or 16 latents where these are more, and its stride three quarters of it, so that neighbours
        share a quarter. Tiles do not see beyond their edges: the result is close to that of the
        whole frame, not equal to it.
        """
        unit = self.space_factor
        tile, stride = [], []
        for axis, side, step in (
            ("height", tile_sample_min_height, tile_sample_stride_height),
            ("width", tile_sample_min_width, tile_sample_stride_width),
        ):
            side = side if side is not None else max(256 // unit, 16) * unit
            step = step if step is not None else max(side * 3 // 4 // unit, 1) * unit
            if side % unit or step % unit or not 0 < side <= 2 * step < 2 * side:
                raise ValueError(
                    f"a tile's {axis} and stride must be multiples of {unit} and the stride at "
                    f"least half of the tile and less than it, got {side} and {step}: try "
                    f"{16 * unit} and {12 * unit}"
                )
            tile.append(side // unit)
            stride.append(step // unit)
        self.use_tiling, self._tiling = True, Tiling((tile[0], tile[1]), (stride[0], stride[1]))

    def parallelize(self, group: Any = None) -> None:
        """Share each clip among the processes of a group of ``torch.distributed``, exactly.

        Each process calls ``encode`` and ``decode``, or their streams, with the same tensors,
        computes a strip of every frame, asks its neighbours for the rows at its borders, and gets
        the whole result, equal to that of one process to rounding; memory for activations falls as
        one over their number. A frame must have a row of latents for each. Not for gradients.
        """
        strips = Strips(group)
        self.encoder.strips = self.decoder.strips = strips if strips.count > 1 else None

    def disable_parallel(self) -> None:
        """Undo :meth:`parallelize`."""
        self.encoder.strips = self.decoder.strips = None

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

    def _parts(self, encoding: bool) -> Parts:
        """How a call is divided: by sample and by tile, as enabled."""
        scales = (self.space_factor, 1) if encoding else (1, self.space_factor)
        return Parts(self.use_slicing, self._tiling if self.use_tiling else None, *scales)

    def frames_at_once(self, height: int, width: int, samples: int = 1) -> int:
        """How many frames of that size a clip that goes on is taken in: as enabled, or by itself.

        By itself so many that what the largest level gives stays small, for that is what memory
        goes to.
        """
        if self.use_streaming:
            return self._streaming_frames
        if self.use_tiling and self._tiling is not None:
            tile = (n * self.space_factor for n in self._tiling.tile)
            height, width = map(min, (height, width), tile)
        if self.decoder.strips is not None:
            height = self.decoder.strips.tallest(height)
        parameter = next(self.parameters())
        samples = 1 if self.use_slicing else samples
        frame = samples * height * width * self._floats_per_pixel * parameter.element_size()
        frames = min(MOST_AT_ONCE, int(6 * piece_bytes(parameter) // frame))
        return max(1, frames // self.time_factor) * self.time_factor

    def _at_once(self, x: torch.Tensor, scale: int) -> int | None:
        """The same for a tensor, ``scale`` pixels for a position; None for a clip in one go.

        On a CPU a short clip is better cut all the same: the pieces of its levels fit its caches.
        """
        whole = torch.is_grad_enabled() or torch.compiler.is_compiling() or x.shape[2] == 1
        if whole and not self.use_streaming:
            return None
        most = self.frames_at_once(x.shape[3] * scale, x.shape[4] * scale, len(x))
        behind = (x.shape[2] - 1) * (1 if scale == 1 else self.time_factor)  # the first frame
        fits = behind <= most and x.device.type != "cpu"
        return None if fits and not self.use_streaming else most

    def _padded(self, x: torch.Tensor, first: int) -> torch.Tensor:
        """Repeat the last frame up to ``first`` and a multiple of the temporal compression."""
        missing = -(x.shape[2] - first) % self.time_factor
        return torch.cat([x, *[x[:, :, -1:]] * missing], 2) if missing else x

    def _check_half(self, half: str) -> None:
        if self.config["halves"] not in ("both", half):
            raise ValueError(
                f"this model is its {self.config['halves']} alone, whose other half was not "
                f"trained: take its teacher's {half}"
            )

    def _check_frames(self, x: torch.Tensor) -> None:
        channels = self.config["in_channels"]
        if x.ndim != 5 or x.shape[1] != channels:
            raise ValueError(
                f"a clip must be (batch, {channels}, frames, height, width), got {tuple(x.shape)}: "
                "an image is a clip of one frame, x.unsqueeze(2)"
            )
        if not x.is_floating_point():
            raise ValueError(
                f"a clip must hold floating-point numbers in [-1, 1], got {x.dtype}: "
                "for bytes, x.float() / 127.5 - 1"
            )
        B, _, T, H, W = x.shape
        if B == 0 or T == 0:
            raise ValueError(f"a clip must hold at least one frame, got {tuple(x.shape)}")
        side = self.space_factor
        if H % side or W % side or not H or not W:
            fit = [max(side, n - n % side) for n in (H, W)]
            raise ValueError(
                f"height and width must be multiples of {side}, got {H}x{W}: crop the clip to "
                f"{fit[0]}x{fit[1]}, or pad it and crop the reconstruction"
            )

    def _check_length(self, frames: int) -> None:
        step = self.time_factor
        if (frames - 1) % step:
            below = frames - 1 - (frames - 1) % step + 1
            raise ValueError(
                f"the number of frames must be {step}n + 1, got {frames}: cut the clip to {below}, "
                f"fill it up to {below + step}, or let encode(x, pad=True) repeat the last frame "
                f"and decode(z, num_frames={frames}) cut it off again"
            )

    def _check_latents(self, z: torch.Tensor) -> None:
        if z.ndim != 5 or z.shape[1] != self.config["z_dim"]:
            raise ValueError(
                f"latents must be (batch, {self.config['z_dim']}, frames, height, width), "
                f"got {tuple(z.shape)}"
            )
        if not z.is_floating_point():
            raise ValueError(
                f"latents must hold floating-point numbers, got {z.dtype}: give them as encode does"
            )
        if not z.numel():
            raise ValueError(f"latents must hold at least one frame, got {tuple(z.shape)}")


def _check_factor(name: str, given: int | None, actual: int) -> None:
    """A ValueError for a factor in a config that its other settings contradict."""
    if given not in (None, actual):
        raise ValueError(
            f"{name} follows from the other settings and is {actual}, got {given}: leave it out"
        )
