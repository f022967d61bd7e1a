"""Encoder and decoder: chains of stages over clips that may go on.

Shape legend: B batch, C channels, T frames, H height, W width of the clip; z, t, h, w those of
its latents.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any, cast

import torch
from torch import nn

from ssvae.models.blocks import (
    Cache,
    CausalConv3d,
    FrameAttention,
    ResidualBlock,
    call,
    join,
)
from ssvae.models.config import AutoencoderConfig
from ssvae.models.norm import RMSNormSiLU
from ssvae.models.resample import Downsample, Upsample, channel_to_space, space_to_channel
from ssvae.models.strips import Strip, Strips

INITIAL_LOGVAR = -6.0


Stage = Callable[[torch.Tensor, Cache, Strip | None], tuple[torch.Tensor, Cache]]


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

    def stages(self) -> list[nn.Module]:
        """What a clip passes, in order."""
        return [*self.blocks, *(m for m in self.children() if m is not self.blocks)]


def piece_bytes(x: torch.Tensor) -> int:
    """How large a tensor on the device of x should be.

    Tensors above the largest size that the C library keeps for reuse (glibc: 32 MiB) are fetched
    from the system anew, page by page, each time: an element-wise pass over them costs ten times
    as much. On a GPU they should be large enough to fill it.
    """
    return 16 * 2**20 if x.device.type == "cpu" else 2**30


class _Coder(nn.Module):
    """What encoder and decoder have in common: levels of stages, each stage with its cache."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Any = None  # set by diffusers' enable_gradient_checkpointing
    merges: bool
    """Whether the pieces that a level was divided into are joined again after it."""
    strips: Strips | None = None
    """The processes that share clips."""

    def _run(
        self, levels: list[list[Stage]], x: torch.Tensor, cache: Cache, strip: Strip | None
    ) -> tuple[torch.Tensor, Cache]:
        # A list that is given is filled anew, so that no two generations of it lie in memory.
        caches = cache or [cache] * sum(map(len, levels))
        x = x.contiguous(memory_format=torch.channels_last_3d)
        return self._pass(levels, x, caches, 0, strip), (None if cache is None else caches)

    def _pass(
        self,
        levels: list[list[Stage]],
        x: torch.Tensor,
        caches: list[Cache],
        done: int,
        strip: Strip | None,
    ) -> torch.Tensor:
        """Through these levels; ``done`` stages lie behind."""
        if not levels:
            return x
        level, *rest = levels
        after = done + len(level)
        rows = x.shape[3] if strip is None else strip.tallest(x.shape[3])
        axis, pieces = self._cut(x, level, caches[done], rows)

        def outputs() -> Iterator[torch.Tensor]:
            for piece in pieces:
                for i, stage in enumerate(level, done):
                    if self.gradient_checkpointing and torch.is_grad_enabled():
                        checkpoint = self._gradient_checkpointing_func
                        piece, caches[i] = checkpoint(stage, piece, caches[i], strip)
                    else:
                        piece, caches[i] = stage(piece, caches[i], strip)
                yield piece if self.merges else self._pass(rest, piece, caches, after, strip)

        whole, part = x.shape[axis], pieces[0].shape[axis]
        y = join(outputs(), axis, lambda first: first.shape[axis] * whole // part)
        return self._pass(rest, y, caches, after, strip) if self.merges else y

    def _cut(
        self, x: torch.Tensor, level: list[Stage], cache: Cache, rows: int
    ) -> tuple[int, Sequence[torch.Tensor]]:
        """What this level takes at once, where nothing is differentiated: the axis, and pieces.

        Frames of a clip that goes on, images of a batch; ``rows`` are those of the largest strip.
        """
        goes_on = cache is not None and len(cache) > 0
        images = cache is None and x.shape[2] == 1
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or not (goes_on or images):
            return 2, (x,)
        width = max(map(_width, level))
        fit = piece_bytes(x) // (width * rows * x.shape[4] * x.element_size())
        if images:
            return 0, x.split(max(1, fit))
        fit = max(2, fit // x.shape[0] - 2)  # two are of the past
        return 2, x.split(fit - fit % 2, 2)  # even, where time is halved


def _width(stage: Stage) -> int:
    """Values that a stage holds for each position that goes in."""
    if isinstance(stage, Upsample):
        return stage.conv.out_channels * stage.time * stage.space**2
    return stage.conv2.out_channels if isinstance(stage, ResidualBlock) else 0


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
    """Clips (B, C, T, H, W) to moments (B, 2 z, t, h, w)."""

    merges = True

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        widths = [config.base_channels * m for m in config.channel_multipliers]
        self.patch_size = config.patch_size
        self.space_factor = config.patch_size * prod(config.space_factors)
        self.conv_in = CausalConv3d(config.in_channels * config.patch_size**2, config.base_channels)
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
        self.norm_out = RMSNormSiLU(top)
        self.conv_out = CausalConv3d(top, 2 * config.z_dim)
        # A fresh posterior is narrow, or training would begin by learning to outshout its noise.
        assert self.conv_out.bias is not None
        nn.init.constant_(self.conv_out.bias.data[config.z_dim :], INITIAL_LOGVAR)

    def levels(self) -> list[list[Stage]]:
        """The stages that a clip passes, in order, by resolution."""
        first, *others = [cast(Level, level).stages() for level in self.down]
        levels: list[list[Stage]] = [[self.conv_in, *first], *map(list, others)]
        levels[-1] += [*self.mid, partial(self.conv_out, norm=call(self.norm_out))]
        return levels

    def forward(self, x_BCTHW: torch.Tensor, cache: Cache = None) -> tuple[torch.Tensor, Cache]:
        """Clips to moments, and the cache.

        Without a cache the clip is whole. With ``()`` it begins, and what a call returns as its
        cache goes into the next, with a piece of a multiple of ``time_factor`` frames. The cache is
        a list, one entry a stage; it is filled anew in place, so copy it to come back to a point.
        """
        x, strip = x_BCTHW, None
        if self.strips is not None:
            strip = self.strips.of(x.shape[3] // self.space_factor)
            x = strip.own(x)
        x = space_to_channel(x, 1, self.patch_size)
        moments, cache = self._run(self.levels(), x, cache, strip)
        return (moments if strip is None else strip.gather(moments, 3)), cache


class Decoder(_Coder):
    """Latents (B, z, t, h, w) to clips (B, C, T, H, W)."""

    merges = False

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
        self.norm_out = RMSNormSiLU(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], config.out_channels * config.patch_size**2)

    def levels(self) -> list[list[Stage]]:
        """The stages that a clip passes, in order, by resolution."""
        first, *others = [cast(Level, level).stages() for level in self.up]
        levels: list[list[Stage]] = [[self.conv_in, *self.mid, *first], *map(list, others)]
        levels[-1].append(partial(self.conv_out, norm=call(self.norm_out)))
        return levels

    def forward(self, z: torch.Tensor, cache: Cache = None) -> tuple[torch.Tensor, Cache]:
        """Latents to clips, and the cache, as in :meth:`Encoder.forward`."""
        strip = None if self.strips is None else self.strips.of(z.shape[3])
        z = z if strip is None else strip.own(z)
        x, cache = self._run(self.levels(), z, cache, strip)
        x = channel_to_space(x, 1, self.patch_size)
        return (x if strip is None else strip.gather(x, 3)), cache
