import dataclasses
import inspect

import pytest
import torch
import torch.nn.functional as F
from accelerate import cpu_offload
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import DiffusionPipeline
from torch import nn

import ssvae
from ssvae import AutoencoderKLSSVAE
from ssvae.models import PRESETS, AutoencoderConfig, DiagonalGaussian
from ssvae.models.blocks import CausalConv3d, channels_last
from ssvae.models.plain import _down, _up, plain_decode, plain_encode
from ssvae.models.resample import Downsample, Upsample, channel_to_space, space_to_channel


def test_config_class_and_constructor_agree():
    parameters = inspect.signature(AutoencoderKLSSVAE.__init__).parameters
    for field in dataclasses.fields(AutoencoderConfig):
        assert parameters[field.name].default == field.default


def test_tiny_preset():
    vae = AutoencoderKLSSVAE.from_preset("tiny")
    assert sum(p.numel() for p in vae.parameters()) <= 2_000_000
    assert vae.config["scale_factor_temporal"] == 4
    assert vae.config["scale_factor_spatial"] == 4
    assert vae.config["latents_mean"] == [0.0] * 16
    with pytest.raises(ValueError, match="choose from tiny"):
        AutoencoderKLSSVAE.from_preset("huge")


def test_attention_by_config(vae):
    with_attention = AutoencoderKLSSVAE.from_preset("tiny", attention=True)
    kinds = [type(m).__name__ for m in with_attention.encoder.mid]
    assert kinds == ["ResidualBlock", "FrameAttention"] * 2
    assert [type(m).__name__ for m in vae.decoder.mid] == ["ResidualBlock"] * 2


def test_published_preset_carries_statistics():
    config = PRESETS["ssvae-c48-f16t4"]
    assert config.latents_mean is not None
    assert config.latents_std is not None
    assert len(config.latents_mean) == len(config.latents_std) == 48
    assert config.latents_mean[0] == -0.1962890625


@pytest.mark.parametrize(("frames", "latent_frames"), [(1, 1), (5, 2), (9, 3)])
def test_shapes(vae, frames, latent_frames):
    x = torch.randn(2, 3, frames, 16, 24)
    posterior = vae.encode(x).latent_dist
    assert posterior.mean.shape == posterior.logvar.shape == (2, 4, latent_frames, 4, 6)
    assert vae.decode(posterior.mode()).sample.shape == x.shape
    assert vae(x).sample.shape == x.shape


def test_no_frame_sees_a_later_one(vae):
    randomise(vae)
    x = torch.randn(1, 3, 9, 16, 16)
    changed = x.clone()
    changed[:, :, 5:] += 1
    with torch.no_grad():
        a, b = vae.encode(x).latent_dist.mean, vae.encode(changed).latent_dist.mean
        torch.testing.assert_close(a[:, :, :2], b[:, :, :2])
        assert not torch.allclose(a[:, :, 2], b[:, :, 2])
        z = torch.randn(1, 4, 3, 4, 4)
        later = z.clone()
        later[:, :, 2] += 1
        torch.testing.assert_close(
            vae.decode(z).sample[:, :, :5], vae.decode(later).sample[:, :, :5]
        )


def test_padding_in_time(vae):
    x = torch.randn(1, 3, 7, 16, 16)
    padded = torch.cat([x, x[:, :, -1:], x[:, :, -1:]], 2)
    with torch.no_grad():
        z = vae.encode(x, pad=True).latent_dist.mode()
        torch.testing.assert_close(z, vae.encode(padded).latent_dist.mode())
        assert vae.decode(z, num_frames=7).sample.shape == x.shape
    with pytest.raises(ValueError, match="1 to 9 .* got 10"):
        vae.decode(z, num_frames=10)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 6, 16, 16), r"4n \+ 1, got 6: cut the clip to 5, fill it up to 9.*pad=True"),
        ((1, 3, 5, 18, 16), "multiples of 4, got 18x16: crop the clip to 16x16"),
        ((1, 3, 5, 3, 16), "multiples of 4, got 3x16"),
        ((3, 5, 16, 16), r"unsqueeze\(2\)"),
        ((1, 4, 5, 16, 16), r"\(batch, 3, frames"),
        ((1, 3, 0, 16, 16), "at least one frame"),
        ((0, 3, 5, 16, 16), "at least one frame"),
    ],
)
def test_clips_that_do_not_fit(vae, shape, message):
    with pytest.raises(ValueError, match=message):
        vae.encode(torch.zeros(shape))


def test_bytes_and_alien_latents_are_refused(vae):
    with pytest.raises(ValueError, match=r"uint8.*127\.5"):
        vae.encode(torch.zeros(1, 3, 5, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(batch, 4, frames"):
        vae.decode(torch.zeros(1, 5, 1, 4, 4))
    for shape in ((0, 4, 1, 4, 4), (1, 4, 0, 4, 4), (1, 4, 1, 0, 4)):
        with torch.no_grad(), pytest.raises(ValueError, match="at least one frame"):
            vae.decode(torch.zeros(shape))


def test_configs_that_do_not_fit():
    with pytest.raises(ValueError, match="z_dim must be at least 1.*latents_mean"):
        AutoencoderKLSSVAE.from_preset("tiny", z_dim=0, latents_mean=(1.0,))
    with pytest.raises(ValueError, match="time_factors must hold"):
        AutoencoderKLSSVAE.from_preset("tiny", time_factors=(2, 3))
    with pytest.raises(ValueError, match="halve time or space"):
        AutoencoderKLSSVAE.from_preset("tiny", time_factors=(2, 1), space_factors=(2, 1))
    with pytest.raises(ValueError, match="change channel_multipliers"):
        AutoencoderKLSSVAE.from_preset("tiny", channel_multipliers=(1, 3, 5))
    with pytest.raises(ValueError, match="is 4, got 8"):
        AutoencoderKLSSVAE.from_preset("tiny", scale_factor_temporal=8)


def test_save_and_load(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    again = AutoencoderKLSSVAE.from_pretrained(tmp_path)
    for name in inspect.signature(AutoencoderKLSSVAE.__init__).parameters:
        if name != "self":
            before, after = vae.config[name], again.config[name]
            assert (list(before) if isinstance(after, list) else before) == after
    for name, parameter in vae.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))


class Holder(DiffusionPipeline):
    def __init__(self, vae: AutoencoderKLSSVAE):
        super().__init__()
        self.register_modules(vae=vae)


def test_a_saved_pipeline_loads(vae, tmp_path):
    Holder(vae).save_pretrained(tmp_path)
    again = Holder.from_pretrained(tmp_path)
    assert isinstance(again.vae, ssvae.AutoencoderKLSSVAE)
    assert torch.equal(next(again.vae.parameters()), next(vae.parameters()))


class Counted(ModelHook):
    calls = 0

    def pre_forward(self, module, *args, **kwargs):
        self.calls += 1
        return args, kwargs


def test_offloading_hooks_run_before_every_way_in(vae):
    hook = Counted()
    add_hook_to_module(vae, hook)
    x, z = torch.zeros(1, 3, 1, 8, 8), torch.zeros(1, 4, 1, 4, 4)
    for i, call in enumerate(
        (
            lambda: vae.encode(x),
            lambda: vae.decode(z),
            lambda: next(vae.encode_stream([x])),
            lambda: next(vae.decode_stream([z])),
        ),
        1,
    ):
        call()
        assert hook.calls == i


def test_offloading_layer_by_layer():
    vae = AutoencoderKLSSVAE.from_preset(
        "tiny", z_dim=4, base_channels=8, time_factors=(1, 2), space_factors=(2, 2), attention=True
    )
    randomise(vae)
    x = torch.randn(1, 3, 3, 16, 16)
    with torch.no_grad():
        plain = vae(x).sample
        cpu_offload(vae, torch.device("cpu"))  # weights lie on "meta" but while their layer runs
        assert vae.decoder.conv_in.weight.device.type == "meta"
        close(vae(x).sample, plain)


def test_slicing(vae):
    randomise(vae)
    x = torch.randn(3, 3, 5, 16, 16)
    with torch.no_grad():
        whole = vae(x).sample
        vae.enable_slicing()
        torch.testing.assert_close(vae(x).sample, whole)


def test_gradient_checkpointing_gives_the_same_gradients(vae):
    randomise(vae)
    x = torch.randn(1, 3, 5, 16, 16)

    def gradients() -> list[torch.Tensor]:
        vae.zero_grad()
        vae.train()(x).sample.square().mean().backward()
        return [p.grad.clone() for p in vae.parameters() if p.grad is not None]

    plain = gradients()
    vae.enable_gradient_checkpointing()
    assert vae.encoder.gradient_checkpointing
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(a, b)


def test_memory_format_does_not_matter(vae):
    randomise(vae)
    x = torch.randn(1, 3, 9, 16, 16)
    with torch.no_grad():
        plain = vae(x).sample
        torch.testing.assert_close(channels_last(vae)(x).sample, plain, atol=1e-5, rtol=1e-4)


def test_bfloat16(vae):
    randomise(vae)
    x = torch.randn(1, 3, 5, 16, 16)
    with torch.no_grad():
        plain = vae.encode(x).latent_dist.mean
        half = vae.bfloat16().encode(x.bfloat16()).latent_dist.mean
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).norm() / plain.norm() < 0.05


def test_posterior():
    torch.manual_seed(0)
    posterior = DiagonalGaussian(torch.randn(2, 8, 3, 4, 5))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(posterior.mean, posterior.std), normal(0.0, 1.0)
    ).sum((1, 2, 3, 4))
    torch.testing.assert_close(posterior.kl(), expected)
    other = DiagonalGaussian(torch.randn(2, 8, 3, 4, 5))
    expected = torch.distributions.kl_divergence(
        normal(posterior.mean, posterior.std), normal(other.mean, other.std)
    ).sum((1, 2, 3, 4))
    torch.testing.assert_close(posterior.kl(other), expected)
    draws = [posterior.sample(torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(posterior.mode(), posterior.mean)
    wild = DiagonalGaussian(torch.full((1, 2, 1, 1, 1), 100.0))
    assert wild.logvar.item() == 20


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_causal_convolution_equals_its_plain_form(frames, stride):
    if stride == 2 and frames == 2:
        frames = 3
    conv = CausalConv3d(2, 3, (stride, 1, 1)).double()
    x = torch.randn(2, 2, frames, 4, 5, dtype=torch.float64)
    padded = F.pad(torch.cat([x[:, :, :1], x[:, :, :1], x], 2), (1, 1, 1, 1))
    plain = F.conv3d(padded, conv.weight, conv.bias, (stride, 1, 1))
    y, cache = conv(x)
    assert cache is None
    torch.testing.assert_close(y, plain)


@pytest.mark.parametrize(("time", "space"), [(1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("frames", [1, 3, 5])
@pytest.mark.parametrize("grad", [True, False])
def test_resampling_equals_its_plain_form(time, space, frames, grad):
    torch.manual_seed(0)
    for layer, plain in (
        (Downsample(4, 8, time, space), _down),
        (Upsample(8, 4, time, space), _up),
    ):
        for parameter in layer.double().parameters():
            nn.init.normal_(parameter)
        channels = 4 if isinstance(layer, Downsample) else 8
        x = torch.randn(2, channels, frames, 4, 6, dtype=torch.float64)
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(layer(x)[0], plain(layer, x))


@pytest.mark.parametrize("frames", [1, 5, 9])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    "shape",
    [
        dict(),
        dict(attention=True),
        dict(time_factors=(1, 2), space_factors=(2, 2), patch_size=1),
        dict(time_factors=(1, 2, 2), space_factors=(2, 1, 2), channel_multipliers=(1, 2, 4, 4)),
    ],
)
def test_the_network_equals_its_plain_form(shape, frames, grad):
    vae = AutoencoderKLSSVAE.from_preset("tiny", z_dim=4, base_channels=8, **shape)
    randomise(vae)
    x = torch.randn(2, 3, frames, 24, 16)
    with torch.no_grad():
        moments = plain_encode(vae, x)
        z = moments.chunk(2, 1)[0]
        clips = plain_decode(vae, z)
    with torch.set_grad_enabled(grad):
        close(vae.encode(x).latent_dist.parameters, moments)
        close(vae.decode(z).sample, clips)


def test_gradients_equal_those_of_the_plain_form(vae):
    randomise(vae)
    x = torch.randn(1, 3, 5, 16, 16)
    vae(x).sample.square().sum().backward()
    ours = {n: p.grad.clone() for n, p in vae.named_parameters() if p.grad is not None}
    vae.zero_grad()
    plain_decode(vae, plain_encode(vae, x).chunk(2, 1)[0]).square().sum().backward()
    for name, parameter in vae.named_parameters():
        if parameter.grad is not None:
            assert (ours[name] - parameter.grad).norm() <= 1e-4 * parameter.grad.norm(), name


def test_weights_that_change_are_seen(vae):
    # Derived weights must follow, whichever way the parameters are written.
    z = torch.randn(1, 4, 2, 4, 4)
    with torch.no_grad():
        vae.decode(z)
        for parameter in vae.parameters():
            parameter.data.copy_(torch.randn_like(parameter) * 0.1)
        close(vae.decode(z).sample, plain_decode(vae, z))


def test_export(vae):
    randomise(vae)
    x = torch.randn(1, 3, 5, 16, 16)
    with torch.no_grad():
        exported = torch.export.export(vae.eval(), (x,), strict=False).module()
        close(exported(x).sample, vae(x).sample)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_folding():
    x = torch.arange(2 * 3 * 4 * 4 * 6.0).view(2, 3, 4, 4, 6)
    folded = space_to_channel(x, 2, 2)
    assert folded.shape == (2, 24, 2, 2, 3)
    # Channel order (c, t, h, w): channel 5 of c = 0 is t = 1, h = 0, w = 1.
    assert torch.equal(folded[:, 5], x[:, 0, 1::2, 0::2, 1::2])
    assert torch.equal(channel_to_space(folded, 2, 2), x)


def randomise(vae: AutoencoderKLSSVAE) -> None:
    """Fill the layers that start at zero too."""
    torch.manual_seed(1)
    for parameter in vae.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.05)
