"""Changes of resolution, each a convolution beside a shortcut without parameters.

``time`` and ``space`` are factors of 1 or 2. A clip of T frames becomes 1 + (T - 1) / 2 frames
where time is halved and 1 + 2 (T - 1) where it is doubled: the first frame stands alone. Of a clip
that goes on, later pieces of T frames become T / 2 and 2 T.
"""

from functools import partial
from itertools import product
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.models.blocks import (
    Cache,
    CausalConv3d,
    conv3d,
    latest,
    lay_out,
    on_frames,
    summed_over_time,
    zero_init,
)
from ssvae.models.norm import added, empty, repeated
from ssvae.models.strips import Strip


def space_to_channel(x_BCTHW: torch.Tensor, time: int, space: int) -> torch.Tensor:
    """Fold blocks of ``time`` x ``space`` x ``space`` positions into channels, ordered (c, t, h,
    w).
    """
    B, C, T, H, W = x_BCTHW.shape
    x = x_BCTHW.reshape(B, C, T // time, time, H // space, space, W // space, space)
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(B, C * time * space**2, T // time, H // space, W // space)


def channel_to_space(x_BCTHW: torch.Tensor, time: int, space: int) -> torch.Tensor:
    """The inverse of :func:`space_to_channel`."""
    B, C, T, H, W = x_BCTHW.shape
    x = x_BCTHW.reshape(B, C // (time * space**2), time, space, space, T, H, W)
    x = x.permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(B, C // (time * space**2), T * time, H * space, W * space)


def phase_weights(weight: torch.Tensor, time: int, space: int) -> torch.Tensor:
    """Nearest upsampling and a 3x3x3 convolution as one convolution of the small grid.

    (C', C, 3, 3, 3) to (space * space * time * C', C, t, h, w): each position of the large grid
    that a position of the small one becomes, its phase, has channels of its own. Of the three taps
    two meet the same input where an axis is doubled, and are summed.
    """
    w = weight.permute(0, 2, 3, 4, 1)  # (C', t, h, w, C): whole channels move
    w = _phases(w, 3, space)
    w = _phases(w, 2, space)
    w = _phases(w, 1, time, late_first=True)  # (C', t phase, t, h phase, h, w phase, w, C)
    w = w.permute(3, 5, 1, 0, 2, 4, 6, 7).flatten(0, 3)
    return w.permute(0, 4, 1, 2, 3)


def _phases(w: torch.Tensor, dim: int, factor: int, late_first: bool = False) -> torch.Tensor:
    """Three taps at ``dim`` to (factor, taps), of the even and of the odd position of a pair.

    The even one sees (i - 1, i, i), the odd one (i, i, i + 1); in time, where nothing is seen of
    what follows, these are one step earlier, and the odd one comes first.
    """
    if factor == 1:
        return w.unsqueeze(dim)
    a, b, c = w.split(1, dim)
    even, odd = (a, b + c), (a + b, c)
    return torch.cat(odd + even if late_first else even + odd, dim).unflatten(dim, (2, 2))


class _Aligned(torch.autograd.Function):
    """Phases (B, P C', T, H + 1, W + 1), as one convolution makes them, side by side.

    Where space is doubled each has a row and a column too many: those of even positions at the end,
    of odd ones at the start. Gradients of four slices would be four tensors of the whole size.
    """

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, time: int, space: int) -> torch.Tensor:
        """To (B, T, H, W, space, space, time, C')."""
        ctx.like, ctx.time, ctx.space = y.new_empty(0), time, space
        ctx.size = y.shape
        corners = _corners(y, time, space)
        B, T, H, W, *rest = corners[0].shape
        phases = y.new_empty(B, T, H, W, space, space, *rest)
        torch.stack(corners, 4, out=phases.flatten(4, 5))
        return phases

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        of_y = empty(ctx.size, ctx.like)
        if ctx.space == 2:
            of_y.zero_()
        corners = _corners(of_y, ctx.time, ctx.space)
        for corner, of_phase in zip(corners, grad.flatten(4, 5).unbind(4), strict=True):
            corner.copy_(of_phase)
        return of_y, None, None


def _corners(y: torch.Tensor, time: int, space: int) -> list[torch.Tensor]:
    """Views of each row and column phase, (B, T, H, W, time, C')."""
    H, W = (n - (space - 1) for n in y.shape[3:])
    phases = y.permute(0, 2, 3, 4, 1).unflatten(4, (space, space, time, -1))
    return [
        phases[:, :, i : i + H, j : j + W, i, j] for i, j in product(range(space), range(space))
    ]


def _check(wide: int, narrow: int, factor: int) -> None:
    if wide * factor % narrow:
        raise ValueError(
            f"a resampling shortcut by {factor} needs channels with high_resolution * {factor} a "
            f"multiple of low_resolution, got {wide} and {narrow}: change channel_multipliers"
        )


class Downsample(nn.Module):
    """Strided convolution plus the mean over groups of the channels that folding gives."""

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int):
        super().__init__()
        _check(in_channels, out_channels, time * space**2)
        self.time, self.space, self.out_channels = time, space, out_channels
        if time == 1:
            conv = nn.Conv2d(in_channels, out_channels, 3, space)
        else:
            # Where space is halved the zeros come from outside, at the bottom and right alone.
            stride, border = (time, space, space), space - 1
            conv = CausalConv3d(in_channels, out_channels, stride, 1 - border, border)
        self.conv = zero_init(conv)

    def forward(
        self, x_BCTHW: torch.Tensor, cache: Cache = None, strip: Strip | None = None
    ) -> tuple[torch.Tensor, Cache]:
        """(B, C, T, H, W) -> (B, C', ceil(T / time), H / space, W / space), and the cache."""
        begins = not isinstance(cache, torch.Tensor)
        shortcut = self._shortcut(x_BCTHW, begins)
        if isinstance(self.conv, CausalConv3d):
            y, cache = self.conv(x_BCTHW, cache, strip)
        else:
            x = lay_out(x_BCTHW, None, 0, border=1, strip=strip)
            y = on_frames(self.conv, x)
        return added(y, shortcut), cache

    def _shortcut(self, x_BCTHW: torch.Tensor, begins: bool) -> torch.Tensor:
        if self.time == 2 and begins:
            x_BCTHW = F.pad(x_BCTHW, (0, 0, 0, 0, 1, 0))
        folded = space_to_channel(x_BCTHW, self.time, self.space)
        return folded.unflatten(1, (self.out_channels, -1)).mean(2)


class PhaseConv3d(CausalConv3d):
    """Nearest upsampling and the causal convolution after it, on the small grid, phase by phase.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        time: factor of the upsampling in time.
        space: in height and width.
    """

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int):
        super().__init__(in_channels, out_channels)
        self.time, self.space = time, space

    def forward(  # type: ignore[override]
        self, seen: torch.Tensor, image: bool = False, laid_rows: int = 0
    ) -> torch.Tensor:
        """Frames (B, C, look_back + T, H, W) to phases (B, T, H, W, space, space, time, C').

        ``image``: one frame without a past; of the two that doubling makes of it the later stays.
        ``laid_rows``: rows that are laid out around a strip, above and below, beside its H.
        """
        padding = 1 - laid_rows, 1
        weight, times = self.weight, self.time
        if image:
            weight, times = summed_over_time(weight).unsqueeze(2), 1
        kernel = phase_weights(weight, times, self.space)
        assert self.bias is not None
        bias = self.bias.repeat(times * self.space**2)
        if image:
            conv = partial(F.conv2d, weight=kernel.squeeze(2), bias=bias, padding=padding)
            y = on_frames(conv, seen)
        else:
            y = conv3d(seen, kernel, bias, padding=(0, *padding))
        return cast(torch.Tensor, _Aligned.apply(y, times, self.space))


class Upsample(nn.Module):
    """Nearest-neighbour repeat and convolution plus repeated channels unfolded into space-time."""

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int):
        super().__init__()
        _check(out_channels, in_channels, time * space**2)
        self.time, self.space = time, space
        self.repeats = out_channels * time * space**2 // in_channels
        self.conv = zero_init(PhaseConv3d(in_channels, out_channels, time, space))

    def forward(
        self, x_BCTHW: torch.Tensor, cache: Cache = None, strip: Strip | None = None
    ) -> tuple[torch.Tensor, Cache]:
        """(B, C, T, H, W) -> (B, C', 1 + time (T - 1), space H, space W), and the cache."""
        outputs, look_back = [], 3 - self.time
        rows = 0 if strip is None else 1
        past, x = cache, x_BCTHW
        if not isinstance(cache, torch.Tensor):
            first, x = x_BCTHW[:, :, :1], x_BCTHW[:, :, 1:]
            seen = lay_out(first, None, 0, strip=strip, around=rows)
            outputs.append(self._join(self.conv(seen, image=True, laid_rows=rows), first))
            past = repeated(seen, look_back - 1)
        if x.shape[2]:
            past = lay_out(x, past, look_back, strip=strip, around=rows)
            outputs.append(self._join(self.conv(past, laid_rows=rows), x))
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
        return y, (None if cache is None else latest(past, look_back))

    def _join(self, phases_BTHWhwaC: torch.Tensor, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """The phases beside their shortcut, x with each channel repeated, on the large grid."""
        shortcut = repeated_to_space(x_BCTHW, self.repeats, self.time, self.space)
        phases_BTHWhwaC += shortcut[..., -phases_BTHWhwaC.shape[-2] :, :]
        grid = phases_BTHWhwaC.permute(0, 1, 6, 2, 4, 3, 5, 7).flatten(5, 6).flatten(3, 4)
        return grid.flatten(1, 2).permute(0, 4, 1, 2, 3)


def repeated_to_space(x_BCTHW: torch.Tensor, repeats: int, time: int, space: int) -> torch.Tensor:
    """Channels, each ``repeats`` times, as phases (B, T, H, W, space, space, time, C').

    Axes along which a channel is repeated alone have length 1, where so many repeats are axes: to
    be broadcast, without memory for what is repeated.
    """
    x, axes, left = x_BCTHW.permute(0, 2, 3, 4, 1), [time, space, space], repeats
    for i in (2, 1, 0):
        if left % axes[i] == 0:
            left, axes[i] = left // axes[i], 1
        else:
            break
    if left > 1:
        x = x.repeat_interleave(left, -1)
    return x.unflatten(-1, (-1, *axes)).permute(0, 1, 2, 3, 6, 7, 5, 4)
