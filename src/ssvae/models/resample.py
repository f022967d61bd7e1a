"""Changes of resolution, each a convolution beside a shortcut without parameters.

``time`` and ``space`` are factors of 1 or 2. A clip of T frames becomes 1 + (T - 1) / 2 frames
where time is halved and 1 + 2 (T - 1) where it is doubled: the first frame stands alone.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.models.blocks import CausalConv3d, zero_init


def space_to_channel(x_BCTHW: torch.Tensor, time: int, space: int) -> torch.Tensor:
    """Fold blocks of ``time`` x ``space`` x ``space`` positions into channels, ordered (c, t, h, w)."""
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


def repeat_nearest(x_BCTHW: torch.Tensor, time: int, space: int) -> torch.Tensor:
    """Nearest-neighbour upsampling, laid out channels last; its gradient is deterministic."""
    B, C, T, H, W = x_BCTHW.shape
    x = x_BCTHW.permute(0, 2, 3, 4, 1)[:, :, None, :, None, :, None]
    x = x.expand(B, T, time, H, space, W, space, C)
    return x.reshape(B, T * time, H * space, W * space, C).permute(0, 4, 1, 2, 3)


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
            conv = CausalConv3d(
                in_channels, out_channels, (time, space, space), space_padding=2 - space
            )
        self.conv = zero_init(conv)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C', ceil(T / time), H / space, W / space)."""
        B, C, T = x_BCTHW.shape[:3]
        padded = F.pad(x_BCTHW, (0, 1, 0, 1)) if self.space == 2 else x_BCTHW
        if self.time == 1:
            frames = padded.transpose(1, 2).reshape(B * T, C, *padded.shape[3:])
            y = self.conv(frames)
            y = y.reshape(B, T, *y.shape[1:]).transpose(1, 2)
        else:
            y = self.conv(padded)
            x_BCTHW = F.pad(x_BCTHW, (0, 0, 0, 0, self.time - 1, 0))
        folded = space_to_channel(x_BCTHW, self.time, self.space)
        return y + folded.unflatten(1, (self.out_channels, -1)).mean(2)


class Upsample(nn.Module):
    """Nearest-neighbour repeat and convolution plus repeated channels unfolded into space-time."""

    def __init__(self, in_channels: int, out_channels: int, time: int, space: int):
        super().__init__()
        _check(out_channels, in_channels, time * space**2)
        self.time, self.space = time, space
        self.repeats = out_channels * time * space**2 // in_channels
        self.conv = zero_init(CausalConv3d(in_channels, out_channels))

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C', 1 + time (T - 1), space H, space W)."""
        late = self.time - 1  # the first frame is not repeated: drop what stands before it
        grown = repeat_nearest(x_BCTHW, self.time, self.space)
        repeated = x_BCTHW.unsqueeze(2).expand(-1, -1, self.repeats, -1, -1, -1).flatten(1, 2)
        shortcut = channel_to_space(repeated, self.time, self.space)
        return self.conv(grown[:, :, late:]) + shortcut[:, :, late:]
