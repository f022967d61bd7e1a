"""The transformer that reads its caption at once."""

import diffusers
import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor

import ssvae
from ssvae.diffusion import transformer as module
from ssvae.diffusion.transformer import PooledWanTransformer3DModel, pooled, positions, rotated

SHAPE = dict(
    patch_size=(1, 1, 1),
    num_attention_heads=2,
    attention_head_dim=16,
    in_channels=4,
    out_channels=4,
    text_dim=16,
    freq_dim=32,
    ffn_dim=32,
    num_layers=2,
)


def model(**changes) -> PooledWanTransformer3DModel:
    """A model whose last layer says something, which a fresh one's does not."""
    torch.manual_seed(0)
    fresh = PooledWanTransformer3DModel(**(SHAPE | changes)).eval()
    torch.nn.init.normal_(fresh.proj_out.weight, std=0.2)
    return fresh


def inputs(lengths=(5, 3)):
    torch.manual_seed(1)
    text = torch.randn(2, 5, 16)
    for row, length in zip(text, lengths, strict=True):
        row[length:] = 0
    return torch.randn(2, 4, 3, 6, 4), torch.tensor([200.0, 900.0]), text


def velocity(m, x, t, text):
    return m(x, t, text, return_dict=False)[0]


def test_a_fresh_model_says_nothing():
    assert not velocity(PooledWanTransformer3DModel(**SHAPE), *inputs()).any()


def test_padding_changes_nothing():
    """However long it is, with captions of several lengths, and for a caption without tokens."""
    m, (x, t, text) = model(), inputs((5, 0))
    short = velocity(m, x, t, text)
    long = torch.nn.functional.pad(text, (0, 0, 0, 507))
    assert torch.allclose(velocity(m, x, t, long), short, atol=1e-5)
    assert torch.isfinite(short).all()
    alone = velocity(m, x[1:], t[1:], torch.zeros(1, 1, 16))
    assert torch.allclose(alone, short[1:], atol=1e-5)


def test_padding_drowns_the_caption_of_wans_own():
    """What the class is for: the caption's effect on fresh weights, beside Wan's transformer."""
    x, t, text = inputs()
    full = torch.nn.functional.pad(text, (0, 0, 0, 507))
    torch.manual_seed(0)
    wan = WanTransformer3DModel(**SHAPE).eval()

    @torch.no_grad()
    def effect(m):
        out, swapped = velocity(m, x[:1], t[:1], full[:1]), velocity(m, x[:1], t[:1], full[1:])
        return float((out - swapped).square().mean() / out.square().mean())

    assert effect(model()) > 20 * effect(wan)


def test_the_caption_reaches_the_time_embedding():
    """With cross-attention silenced, the caption still changes what comes out."""
    m, (x, t, text) = model(), inputs()
    for block in m.blocks:
        torch.nn.init.zeros_(block.attn2.to_out[0].weight)
    a, b = velocity(m, x[:1], t[:1], text[:1]), velocity(m, x[:1], t[:1], text[1:])
    assert (a - b).abs().max() > 0.01


def test_pooling_is_the_size_of_one_token():
    text = torch.randn(4, 30, 1000)
    text[:, 20:] = 0
    assert torch.allclose(pooled(text), text.sum(1) / 20**0.5)
    assert pooled(text).std() == pytest.approx(1, abs=0.1)
    assert not pooled(torch.zeros(1, 3, 8)).any()


def test_attention_is_wans(monkeypatch):
    """Plain products and the fused kernel against diffusers' processor, values and gradients."""

    def run(processor=None):
        m, (x, t, text) = model(), inputs((5, 5))
        if processor is not None:
            for block in m.blocks:
                block.attn1.set_processor(processor)
                block.attn2.set_processor(processor)
        out = velocity(m, x, t, text)
        out.square().sum().backward()
        return out, m.blocks[0].attn1.to_q.weight.grad

    wan = run(WanAttnProcessor())
    plain = run()
    monkeypatch.setattr(module, "LONGEST_PLAIN", 0)
    fused = run()
    for ours in (plain, fused):
        for a, b in zip(ours, wan, strict=True):
            assert torch.allclose(a, b, atol=1e-4)


def test_positions_are_unlike():
    cube = positions(3, 8, 8, 128).flatten(1).T
    assert cube.shape == (192, 128)
    distances = torch.cdist(cube, cube) + 10 * torch.eye(192)
    assert distances.min() > 0.5
    # The same place in a larger clip is the same place.
    assert torch.equal(positions(5, 16, 9, 128)[:, :3, :8, :8], positions(3, 8, 8, 128))


def test_saved_and_loaded(tmp_path):
    m, given = model(), inputs()
    m.save_pretrained(tmp_path)
    again = PooledWanTransformer3DModel.from_pretrained(tmp_path).eval()
    assert torch.equal(velocity(again, *given), velocity(m, *given))
    assert ssvae.PooledWanTransformer3DModel is PooledWanTransformer3DModel
    assert issubclass(PooledWanTransformer3DModel, diffusers.WanTransformer3DModel)


def test_bfloat16_and_gradient_checkpointing():
    x, t, text = inputs()
    half = model().to(torch.bfloat16)
    out = velocity(half, x.bfloat16(), t, text.bfloat16())
    assert (out.float() - velocity(model(), x, t, text)).abs().max() < 0.1

    def gradient(checkpointed):
        m = model().train()
        if checkpointed:
            m.enable_gradient_checkpointing()
        velocity(m, x, t, text).square().sum().backward()
        return m.patch_embedding.weight.grad

    assert torch.allclose(gradient(True), gradient(False), atol=1e-5)


def test_a_time_for_each_token():
    """As Wan 2.2's pipeline asks: the same time for all is one time."""
    m, (x, t, text) = model(), inputs()
    each = t[:, None].expand(2, 3 * 6 * 4)
    assert torch.allclose(velocity(m, x, each, text), velocity(m, x, t, text), atol=1e-5)


def test_images_beside_the_caption_are_refused():
    with pytest.raises(ValueError, match="takes no image"):
        model(image_dim=8)


def test_a_sample_and_its_velocity():
    """The layers' output is x, so that x_t - t v is it again; nearer than .05 the velocity is
    bounded.
    """
    m, (x, t, text) = model(prediction="sample"), inputs()
    plain = model()
    made = velocity(plain, x, t, text)
    v = velocity(m, x, t, text)
    torch.testing.assert_close(x - (t / 1000).view(-1, 1, 1, 1, 1) * v, made, atol=1e-5, rtol=1e-4)
    near = torch.tensor([1.0, 20.0])
    v, made = velocity(m, x, near, text), velocity(plain, x, near, text)
    torch.testing.assert_close(x - 0.05 * v, made, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="one time a clip"):
        m(x, t[:, None].expand(2, 72), text)


def test_both_forms_of_rotation_are_one(monkeypatch):
    x = torch.randn(2, 5, 3, 8)
    angles = torch.randn(1, 5, 1, 4).repeat_interleave(2, -1)
    turned = rotated(x, angles.cos(), angles.sin())
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotated(x, angles.cos(), angles.sin()), turned)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
