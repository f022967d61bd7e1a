from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssvae import AutoencoderKLSSVAE
from ssvae.models.streaming import blend_weights, spans


@given(length=st.integers(1, 60), tile=st.integers(2, 20), overlap=st.integers(1, 10))
def test_tiles_cover_an_axis_and_their_weights_sum_to_one(length, tile, overlap):
    stride = max(tile - overlap, (tile + 1) // 2)
    axis = spans(length, tile, stride)
    assert axis[0][0] == 0
    assert axis[-1][1] == length
    for (a, b), (c, d) in pairwise(axis):
        assert b - a == d - c == tile
        assert 0 < c - a <= stride
    total = torch.zeros(length * 4)
    for (start, stop), weight in zip(axis, blend_weights(axis, 4, total), strict=True):
        assert (weight >= 0).all()
        total[start * 4 : stop * 4] += weight
    torch.testing.assert_close(total, torch.ones_like(total))


def pointwise() -> AutoencoderKLSSVAE:
    """A model without looks to the side: tiles must then give what the whole frame gives."""
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("tiny", z_dim=4, base_channels=8).eval()
    for name, parameter in vae.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
        if parameter.ndim == 5 and parameter.shape[-1] == 3:
            middle = parameter.data[..., 1:2, 1:2].clone()
            parameter.data.zero_()
            # The strided convolution looks to the right of its position, at 0 to 2.
            at = 0 if "downsample" in name and parameter.shape[1] == 8 else 1
            parameter.data[..., at : at + 1, at : at + 1] = middle
    return vae


@pytest.mark.parametrize("streaming", [False, True])
def test_blending_is_exact_where_nothing_looks_aside(streaming):
    vae = pointwise()
    x = torch.randn(2, 3, 9, 100, 72)
    with torch.no_grad():
        moments = vae.encode(x).latent_dist.parameters
        z = moments.chunk(2, 1)[0]
        clips = vae.decode(z).sample
        vae.enable_tiling(32, 40, 24, 20)
        if streaming:
            parts = vae.encode_stream(x.split(2, 2))
            tiled = torch.cat([p.parameters for p in parts], 2)
            again = torch.cat(list(vae.decode_stream(z.split(1, 2))), 2)
        else:
            tiled, again = vae.encode(x).latent_dist.parameters, vae.decode(z).sample
    torch.testing.assert_close(again, clips, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tiled, moments, atol=1e-5, rtol=1e-5)


def test_streamed_tiles_equal_tiles_of_the_whole_clip(vae):
    x = torch.randn(1, 3, 9, 64, 48)
    vae.enable_tiling(32, 32, 16, 24)
    with torch.no_grad():
        whole = vae.encode(x).latent_dist.mean
        streamed = torch.cat([p.mean for p in vae.encode_stream(x.split(5, 2))], 2)
        torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=1e-5)
        vae.enable_slicing()
        torch.testing.assert_close(vae.encode(x).latent_dist.mean, whole, atol=1e-5, rtol=1e-5)


def test_small_frames_are_not_tiled(vae):
    x = torch.randn(1, 3, 5, 16, 16)
    with torch.no_grad():
        plain = vae(x).sample
        vae.enable_tiling()
        assert torch.equal(vae(x).sample, plain)
        vae.enable_tiling(8, 8, 4, 4)
        assert not torch.equal(vae(x).sample, plain)
        vae.disable_tiling()
        assert torch.equal(vae(x).sample, plain)


@pytest.mark.parametrize(
    "sizes",
    [
        (30, None, None, None),
        (32, None, 32, None),
        (32, None, 12, None),
        (None, 32, None, 40),
        (0, None, None, None),
        (32, None, 0, None),
        (-32, None, -16, None),
    ],
)
def test_senseless_tiles(vae, sizes):
    with pytest.raises(ValueError, match="must be multiples of 4 and the stride at least half"):
        vae.enable_tiling(*sizes)
