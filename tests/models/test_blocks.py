"""Layers against their plain forms."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ssvae.models.blocks import FrameAttention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_of_frames_is_the_plain_one_by_a_fused_kernel(dtype):
    torch.manual_seed(0)
    layer = FrameAttention(8)
    torch.nn.init.normal_(layer.proj.weight)
    x = torch.randn(2, 8, 3, 4, 5)
    wanted = []
    for clip in x:
        frames = []
        for frame in clip.unbind(1):  # (C, H, W)
            q, k, v = layer.to_qkv(layer.norm(frame[None]))[0].flatten(1).chunk(3)
            weights = (q.T @ k / 8**0.5).softmax(-1)
            frames.append(frame + layer.proj((weights @ v.T).T.view(1, 8, 4, 5))[0])
        wanted.append(torch.stack(frames, 1))
    layer = layer.to(dtype)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # any other way is an error here
        found, _ = layer(x.to(dtype))
    bound = 1e-5 if dtype == torch.float32 else 0.2
    torch.testing.assert_close(found.float(), torch.stack(wanted), rtol=0, atol=bound)
