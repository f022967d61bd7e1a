"""The autoencoder by its definition, without any saving: what the real one is checked and timed
against.

Frames are repeated where the definition repeats them, upsampling is done before the convolution
that follows it, and a clip is one piece. The weights are those of the model that is given.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from ssvae.models.autoencoder import AutoencoderKLSSVAE
from ssvae.models.blocks import CausalConv3d, FrameAttention, ResidualBlock
from ssvae.models.coder import Level
from ssvae.models.norm import RMSNorm
from ssvae.models.resample import Downsample, Upsample, channel_to_space, space_to_channel


def plain_encode(vae: AutoencoderKLSSVAE, x_BCTHW: torch.Tensor) -> torch.Tensor:
    """Clips (B, C, T, H, W) to moments (B, 2 z, t, h, w)."""
    encoder = vae.encoder
    x = _conv(encoder.conv_in, space_to_channel(x_BCTHW, 1, encoder.patch_size))
    for stage in (*_stages(encoder.down), *encoder.mid):
        x = _stage(stage, x)
    return _conv(encoder.conv_out, F.silu(_norm(encoder.norm_out, x)))


def plain_decode(vae: AutoencoderKLSSVAE, z: torch.Tensor) -> torch.Tensor:
    """Latents (B, z, t, h, w) to clips (B, C, T, H, W)."""
    decoder = vae.decoder
    x = _conv(decoder.conv_in, z)
    for stage in (*decoder.mid, *_stages(decoder.up)):
        x = _stage(stage, x)
    x = _conv(decoder.conv_out, F.silu(_norm(decoder.norm_out, x)))
    return channel_to_space(x, 1, decoder.patch_size)


def _stages(levels: nn.ModuleList) -> Iterator[nn.Module]:
    for level in levels:
        assert isinstance(level, Level)
        yield from level.stages()


def _stage(stage: nn.Module, x: torch.Tensor) -> torch.Tensor:
    match stage:
        case ResidualBlock():
            h = _conv(stage.conv1, F.silu(_norm(stage.norm1, x)))
            return stage.shortcut(x) + _conv(stage.conv2, F.silu(_norm(stage.norm2, h)))
        case Downsample():
            return _down(stage, x)
        case Upsample():
            return _up(stage, x)
        case FrameAttention():
            return _attention(stage, x)
    raise AssertionError(stage)


def _conv(conv: CausalConv3d, x: torch.Tensor) -> torch.Tensor:
    first = x[:, :, :1]
    return F.conv3d(
        torch.cat([first, first, x], 2), conv.weight, conv.bias, conv.stride, conv.padding
    )


def _norm(norm: RMSNorm, x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=1) * norm.scale * norm.gamma


def _down(down: Downsample, x: torch.Tensor) -> torch.Tensor:
    padded = F.pad(x, (0, 1, 0, 1)) if down.space == 2 else x
    if isinstance(down.conv, CausalConv3d):
        y = _conv(down.conv, padded)
        x = F.pad(x, (0, 0, 0, 0, 1, 0))
    else:
        y = torch.stack([down.conv(frame) for frame in padded.unbind(2)], 2)
    folded = space_to_channel(x, down.time, down.space)
    return y + folded.unflatten(1, (down.out_channels, -1)).mean(2)


def _up(up: Upsample, x: torch.Tensor) -> torch.Tensor:
    late = up.time - 1  # the first frame is not repeated
    grown = F.interpolate(x, scale_factor=(up.time, up.space, up.space), mode="nearest")
    shortcut = channel_to_space(x.repeat_interleave(up.repeats, 1), up.time, up.space)
    return _conv(up.conv, grown[:, :, late:]) + shortcut[:, :, late:]


def _attention(attention: FrameAttention, x: torch.Tensor) -> torch.Tensor:
    frames = []
    for frame in x.unbind(2):
        q, k, v = attention.to_qkv(_norm(attention.norm, frame)).flatten(2).chunk(3, 1)
        weights = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(-1)
        frames.append(frame + attention.proj((v @ weights.transpose(1, 2)).view_as(frame)))
    return torch.stack(frames, 2)
