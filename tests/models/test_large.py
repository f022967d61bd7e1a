"""The published size, with random weights: what only shows at that size."""

import pytest
import torch

from ssvae import AutoencoderKLSSVAE


@pytest.fixture(scope="module")
def large() -> AutoencoderKLSSVAE:
    torch.manual_seed(0)
    vae = AutoencoderKLSSVAE.from_preset("ssvae-c48-f16t4").eval()
    for parameter in vae.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.01)
    return vae


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_near(large, dtype):
    x = torch.rand(1, 3, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        plain = large.float()(x).sample
        half = large.to(dtype)(x.to(dtype)).sample
    assert half.dtype == dtype
    assert torch.isfinite(half).all()
    assert (half.float() - plain).norm() / plain.norm() < 0.1


@pytest.mark.slow
def test_streams_equal_the_plain_form_at_this_size(large):
    from ssvae.models.plain import plain_decode, plain_encode

    x = torch.rand(1, 3, 9, 64, 48) * 2 - 1
    large.float()
    with torch.no_grad():
        moments = plain_encode(large, x)
        streamed = torch.cat([p.parameters for p in large.encode_stream(x.split(3, 2))], 2)
        assert (streamed - moments).abs().max() <= 1e-5 * moments.abs().max()
        z = moments.chunk(2, 1)[0]
        clips = plain_decode(large, z)
        assert (large.decode(z).sample - clips).abs().max() <= 1e-5 * clips.abs().max()
