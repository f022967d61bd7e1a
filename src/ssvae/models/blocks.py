"""The layers that encoder and decoder share.

Shape legend: B batch, C channels, T frames, H height, W width; ``x_BCTHW`` is laid out so.

Layers that look back in time take and return a ``cache``: what the frames so far leave behind for
those to come. ``()`` begins a clip that will go on, what a call returned goes into the next, and
None (in and out) is a clip that is whole in itself. Nothing of it is kept in a module.

Layers that look around in space take a ``strip`` where x is a strip of frames that processes share.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.fused import fuses, operator
from ssvae.models.norm import RMSNorm, RMSNormSiLU, add_biased, empty, repeated
from ssvae.models.strips import Strip

M = TypeVar("M", bound=nn.Module)

Cache = Any  # None, () or tensors, nested as the layers are


def zero_init(layer: M) -> M:
    """Start a layer at zero, so that what stands beside it passes: a fresh model trains faster."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def channels_last(model: M) -> M:
    """Lay out convolution weights channels last, in place: the faster layout."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            video = isinstance(module, nn.Conv3d)
            memory_format = torch.channels_last_3d if video else torch.channels_last
            module.weight.data = module.weight.data.contiguous(memory_format=memory_format)
    return model


def on_frames(layer: Callable[[torch.Tensor], torch.Tensor], x_BCTHW: torch.Tensor) -> torch.Tensor:
    """A layer of two dimensions, (N, C, H, W) to (N, C', H', W'), on each frame."""
    B, T = x_BCTHW.shape[0], x_BCTHW.shape[2]
    y = layer(x_BCTHW.transpose(1, 2).flatten(0, 1))
    return y.unflatten(0, (B, T)).transpose(1, 2)


def conv3d(
    x_BCTHW: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int] = (1, 1, 1),
    padding: Sequence[int] = (0, 0, 0),
) -> torch.Tensor:
    """As ``F.conv3d``, but by oneDNN wherever it can.

    For a single clip whose C * T * H is small, torch takes a path of its own on the CPU, which is
    up to ten times slower and unfolds the input in memory.
    """
    if (
        not torch.compiler.is_compiling()
        and x_BCTHW.device.type == "cpu"
        and x_BCTHW.dtype == weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
    ):
        return torch.mkldnn_convolution(x_BCTHW, weight, bias, padding, stride, (1, 1, 1), 1)
    return F.conv3d(x_BCTHW, weight, bias, tuple(stride), tuple(padding))


Norm = Callable[..., torch.Tensor]


def call(norm: RMSNormSiLU, bias: torch.Tensor | None = None) -> Norm:
    """A norm as an argument: hooks that offload layers move modules among these, functions not."""
    return partial(norm, bias=bias)


def left_out(conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor | None:
    """The bias of a convolution that what follows it adds in passing; None where it adds its own.

    That is on a CPU, where oneDNN adds it, and where hooks hold the layer elsewhere until it runs.
    """
    bias = conv.bias
    return bias if bias is not None and fuses(x) and bias.device == x.device else None


class CausalConv3d(nn.Conv3d):
    """3x3x3 convolution that sees no later frame: zeros around in space, and in time two
    copies of the first frame in front.

    The first frame sees only copies of itself. On its own, as an image or as the first piece of a
    clip, its three temporal taps are summed instead, and it passes through a two-dimensional
    network.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        stride: in time, height and width.
        space_padding: zeros on every side of a frame.
        border: rows and columns of zeros at the bottom and the right alone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: tuple[int, int, int] = (1, 1, 1),
        space_padding: int = 1,
        border: int = 0,
    ):
        super().__init__(in_channels, out_channels, 3, stride, (0, space_padding, space_padding))
        self.space_padding, self.border = space_padding, border

    def reset_parameters(self) -> None:
        """Fresh weights keep the variance of their input, as normalised layers want it."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(  # type: ignore[override]
        self,
        input: torch.Tensor,
        cache: Cache = None,
        strip: Strip | None = None,
        norm: Norm | None = None,
        biased: bool = True,
    ) -> tuple[torch.Tensor, Cache]:
        """(B, C, T, H, W) -> (B, C', ceil(T / stride), H', W'), and the cache.

        ``norm``, with SiLU after it, is applied on the way in; where not ``biased`` the bias is
        left out. The frames of a clip that goes on number a multiple of the temporal stride, or one
        more where it begins.
        """
        bias = self.bias if biased else None
        past = cache if isinstance(cache, torch.Tensor) else None
        time, *space = self.stride
        look_back = 3 - time  # frames that the next piece needs of this one
        sides = self.space_padding
        rows = sides if strip is None else 0  # else they are laid out
        if past is None and input.shape[2] == 1:
            x = lay_out(input, None, 0, self.border, norm, strip, sides)
            image = partial(
                F.conv2d,
                weight=summed_over_time(self.weight),
                bias=bias,
                stride=(space[0], space[1]),
                padding=(rows, sides),
            )
            y = on_frames(image, x)
        else:
            frames = 2 if past is None else look_back
            x = lay_out(input, past, frames, self.border, norm, strip, sides)
            y = conv3d(x, self.weight, bias, self.stride, (0, rows, sides))
        return y, (None if cache is None else latest(x, look_back))


def summed_over_time(weight: torch.Tensor) -> torch.Tensor:
    """What a convolution does to a still: (C', C, T, h, w) to (C', C, h, w), channels last.

    As autocast wants it, of which the gradient is then one copy.
    """
    return cast(torch.Tensor, _SummedOverTime.apply(weight, autocast_dtype(weight)))


def autocast_dtype(x: torch.Tensor) -> torch.dtype:
    """The number format in which autocast has convolutions of x."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _summed_taps(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    first, *others = weight.unbind(1)
    return sum(others, first).to(dtype)


_fused_sum = operator(
    "summed_taps(Tensor weight, ScalarType dtype) -> Tensor", _summed_taps, "ssvae.models.kernels"
)


class _SummedOverTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        ctx.like, ctx.size = weight.new_empty(0), weight.shape
        taps = weight.permute(0, 2, 3, 4, 1)  # (C', T, h, w, C)
        if fuses(weight):
            return _fused_sum(taps.contiguous(), dtype).permute(0, 3, 1, 2)
        return _summed_taps(taps, dtype).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return empty(ctx.size, ctx.like).copy_(grad.unsqueeze(2)), None


def lay_out(
    x_BCTHW: torch.Tensor,
    past: torch.Tensor | None,
    frames: int,
    border: int = 0,
    norm: Norm | None = None,
    strip: Strip | None = None,
    around: int = 0,
) -> torch.Tensor:
    """What a convolution reads: ``frames`` of the past, then x, with zeros below and to the right.

    The past is as it was laid out before, or copies of the first frame where it is None. Of a strip
    there are its neighbours' rows, ``around`` above and as many more below. Where nothing is
    differentiated, norm, SiLU and padding go into one buffer and nothing is copied twice.
    """
    above = around if strip is not None else 0
    below = above + border
    if not (frames or above or below or norm):
        return x_BCTHW
    repeats = frames if past is None else 0
    by_norm = norm is not None and strip is None and not border  # it repeats frames in passing
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        h = x_BCTHW if norm is None else norm(x_BCTHW, repeats=repeats if by_norm else 0)
        if strip is not None:
            top, bottom = strip.borders(h, above, below)
            h = F.pad(torch.cat([top, h, bottom], 3), (0, border))
        elif border:
            h = F.pad(h, (0, border, 0, border))
        if repeats and not by_norm:
            h = repeated(h, repeats)
        return h if past is None else torch.cat([past, h], 2)
    B, C, T, H, W = x_BCTHW.shape
    size = B, C, frames + T, above + H + below, W + border
    laid = empty(size, x_BCTHW)
    h = laid[:, :, frames:, above : above + H, :W]
    if norm is None:
        h.copy_(x_BCTHW)
    elif by_norm:
        norm(x_BCTHW, repeats=repeats, out=laid if repeats else h)
    else:
        norm(x_BCTHW, out=h)
    if strip is not None:
        rows = laid[:, :, frames:, :, :W]
        rows[..., :above, :], rows[..., above + H :, :] = strip.borders(h, above, below)
    elif border:
        laid[..., H:, :] = 0
    if border:
        laid[..., W:] = 0
    if past is not None:
        laid[:, :, :frames] = past
    elif repeats and not by_norm:
        laid[:, :, :frames] = laid[:, :, frames : frames + 1]
    return laid


def latest(x_BCTHW: torch.Tensor, frames: int) -> torch.Tensor:
    """The last frames, a lone one repeated, apart from the memory of the others."""
    last = x_BCTHW[:, :, -frames:].expand(-1, -1, frames, -1, -1)
    return last.clone(memory_format=torch.channels_last_3d)


def join(
    pieces: Iterable[torch.Tensor], axis: int, length: Callable[[torch.Tensor], int]
) -> torch.Tensor:
    """Pieces joined along an axis; ``length`` tells from the first how long they are together.

    Where nothing is differentiated, they are never all in memory beside the whole.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        every = list(pieces)
        return every[0] if len(every) == 1 else torch.cat(every, axis)
    whole, done = None, 0
    for piece in pieces:
        if whole is None:
            size = [*piece.shape]
            size[axis] = length(piece)
            if size[axis] == piece.shape[axis]:
                return piece
            whole = empty(size, piece)
        whole.narrow(axis, done, piece.shape[axis]).copy_(piece)
        done += piece.shape[axis]
    assert whole is not None
    return whole


class ResidualBlock(nn.Module):
    """norm, SiLU, convolution, twice, beside a shortcut (1x1x1 where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = RMSNormSiLU(in_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels)
        self.norm2 = RMSNormSiLU(out_channels)
        self.conv2 = zero_init(CausalConv3d(out_channels, out_channels))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv3d(in_channels, out_channels, 1)

    def forward(
        self, x_BCTHW: torch.Tensor, cache: Cache = None, strip: Strip | None = None
    ) -> tuple[torch.Tensor, Cache]:
        """(B, C, T, H, W) -> (B, C', T, H, W), and the cache."""
        first, second = cache or (cache, cache)
        bias1, bias2 = left_out(self.conv1, x_BCTHW), left_out(self.conv2, x_BCTHW)
        h, first = self.conv1(x_BCTHW, first, strip, call(self.norm1), bias1 is None)
        h, second = self.conv2(h, second, strip, call(self.norm2, bias1), bias2 is None)
        h = add_biased(h, bias2, self.shortcut(x_BCTHW))
        return h, (None if cache is None else (first, second))


class FrameAttention(nn.Module):
    """Single-head self-attention over the positions of each frame on its own."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = RMSNorm(channels, dims=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(
        self, x_BCTHW: torch.Tensor, cache: Cache = None, strip: Strip | None = None
    ) -> tuple[torch.Tensor, Cache]:
        """(B, C, T, H, W) to the same shape, and the cache, which stays as it is."""
        B, C, T, H, W = x_BCTHW.shape
        frames = x_BCTHW.transpose(1, 2).reshape(B * T, C, H, W)
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)
        # Fused kernels want an axis of heads, of which there is one, and channels side by side.
        q, k, v = (each[:, None].contiguous() for each in qkv.chunk(3, dim=-1))
        if strip is not None:
            k, v = strip.gather(torch.stack([k, v]), 3)
        out = F.scaled_dot_product_attention(q, k, v)[:, 0]
        out = out.transpose(1, 2).reshape(B * T, C, H, W)
        return x_BCTHW + self.proj(out).reshape(B, T, C, H, W).transpose(1, 2), cache
