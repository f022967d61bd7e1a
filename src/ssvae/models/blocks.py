"""The layers that encoder and decoder share.

Shape legend: B batch, C channels, T frames, H height, W width; ``x_BCTHW`` is laid out so.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

M = TypeVar("M", bound=nn.Module)


def zero_init(layer: M) -> M:
    """Start a layer at zero, so that what stands beside it passes: a fresh model trains faster."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def channels_last(model: M) -> M:
    """Lay out convolution weights channels last, in place: the faster layout for training."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
    return model


class RMSNorm(nn.Module):
    """Scale each position's channel vector to length sqrt(C), then by a learned gamma."""

    def __init__(self, channels: int, dims: int = 3):
        """``dims`` counts the axes behind the channels: 3 for video, 2 for frames."""
        super().__init__()
        self.scale = channels**0.5
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, ...) to the same shape."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp(min=1e-12)
        return x * (self.scale / length) * self.gamma  # fewer passes than F.normalize


class CausalConv3d(nn.Conv3d):
    """3x3x3 convolution that sees no later frame: zeros around in space, and in time two
    copies of the first frame in front.

    A single frame sees only copies of itself, so there the three temporal taps are summed instead:
    an image passes through a two-dimensional network.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: tuple[int, int, int] = (1, 1, 1),
        space_padding: int = 1,
    ):
        super().__init__(in_channels, out_channels, 3, stride, (0, space_padding, space_padding))

    def reset_parameters(self) -> None:
        """Fresh weights keep the variance of their input, as normalised layers want it."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C', ceil(T / stride), H', W')."""
        first = input[:, :, :1]
        if input.shape[2] == 1:
            return self._conv_forward(first, self.weight.sum(2, keepdim=True), self.bias)
        x = torch.cat([first.expand(-1, -1, 2, -1, -1), input], 2)
        return self._conv_forward(x, self.weight, self.bias)


class ResidualBlock(nn.Module):
    """norm, SiLU, convolution, twice, beside a shortcut (1x1x1 where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = RMSNorm(in_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels)
        self.norm2 = RMSNorm(out_channels)
        self.conv2 = zero_init(CausalConv3d(out_channels, out_channels))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C', T, H, W)."""
        h = self.conv1(F.silu(self.norm1(x_BCTHW)))
        return self.shortcut(x_BCTHW) + self.conv2(F.silu(self.norm2(h)))


class FrameAttention(nn.Module):
    """Single-head self-attention over the positions of each frame on its own."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = RMSNorm(channels, dims=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) to the same shape."""
        B, C, T, H, W = x_BCTHW.shape
        frames = x_BCTHW.transpose(1, 2).reshape(B * T, C, H, W)
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B * T, C, H, W)
        return x_BCTHW + self.proj(out).reshape(B, T, C, H, W).transpose(1, 2)
