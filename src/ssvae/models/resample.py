"""Changes of resolution, each a convolution beside a shortcut without parameters.

``time`` and ``space`` are factors of 1 or 2. A clip of T frames becomes 1 + (T - 1) / 2 frames
where time is halved and 1 + 2 (T - 1) where it is doubled: the first frame stands alone. Of a clip
that goes on, later pieces of T frames become T / 2 and 2 T.
"""

from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.models.blocks import Cache, CausalConv3d, conv3d, latest, lay_out, on_frames, zero_init
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


def phase_weight(weight: torch.Tensor, time: int, rows: int | None, columns: int | None):
    """Nearest upsampling and a 3x3x3 convolution as one convolution of the small grid: a phase.

    (C', C, 3, 3, 3) to (time * C', C, t, h, w): of the three taps two meet the same input where an
    axis is doubled, and are summed. ``rows`` and ``columns`` say which of two positions are asked
    for, None that the axis is not doubled; for time there are the weights of both, in order.
    """
    for dim, phase in ((3, rows), (4, columns)):
        if phase is not None:
            weight = (_even, _odd)[phase](weight, dim)
    return torch.cat([_odd(weight, 2), _even(weight, 2)]) if time == 2 else weight


def _even(w: torch.Tensor, dim: int) -> torch.Tensor:
    """Taps on (i - 1, i) of what a position sees whose last two taps fall on the same input."""
    a, b, c = w.unbind(dim)
    return torch.stack((a, b + c), dim)


def _odd(w: torch.Tensor, dim: int) -> torch.Tensor:
    """Taps of what a position sees whose first two fall on the same input."""
    a, b, c = w.unbind(dim)
    return torch.stack((a + b, c), dim)


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
        y += shortcut
        return y, cache

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
        H, W = seen.shape[3] - 2 * laid_rows, seen.shape[4]
        padding = 1 - laid_rows, 1
        weight, bias, times = self.weight, self.bias, self.time
        if image:
            a, b, c = weight.unbind(2)
            weight, times = (a + b + c).unsqueeze(2), 1
        assert bias is not None
        outputs = []
        sides = range(self.space) if self.space == 2 else (None,)
        for rows, columns in product(sides, sides):
            kernel = phase_weight(weight, times, rows, columns)
            if image:
                y = on_frames(
                    partial(F.conv2d, weight=kernel.squeeze(2), bias=bias, padding=padding), seen
                )
            else:
                y = conv3d(seen, kernel, bias.repeat(times), padding=(0, *padding))
            # Where space is doubled, y has a row and a column too many: each phase needs its own.
            top, left = rows or 0, columns or 0
            y = y[..., top : top + H, left : left + W].unflatten(1, (times, -1))
            outputs.append(y.permute(0, 3, 4, 5, 1, 2))
        return torch.stack(outputs, 4).unflatten(4, (self.space, self.space))


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
            past = seen.expand(-1, -1, look_back, -1, -1)
        if x.shape[2]:
            past = lay_out(x, past, look_back, strip=strip, around=rows)
            outputs.append(self._join(self.conv(past, laid_rows=rows), x))
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
        return y, (None if cache is None else latest(past, look_back))

    def _join(self, phases_BTHWhwaC: torch.Tensor, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """The phases beside their shortcut, x with each channel repeated, on the large grid."""
        x = x_BCTHW.permute(0, 2, 3, 4, 1).repeat_interleave(self.repeats, -1)
        x = x.unflatten(-1, (-1, self.time, self.space, self.space)).permute(0, 1, 2, 3, 6, 7, 5, 4)
        phases_BTHWhwaC += x[..., -phases_BTHWhwaC.shape[-2] :, :]
        grid = phases_BTHWhwaC.permute(0, 1, 6, 2, 4, 3, 5, 7).flatten(5, 6).flatten(3, 4)
        return grid.flatten(1, 2).permute(0, 4, 1, 2, 3)
