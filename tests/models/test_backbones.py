import pytest
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
)

from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone


def wan():
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.5] * 4,
        latents_std=[2.0] * 4,
    )


def cogvideox():
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )


def hunyuan():
    return AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
    )


def ltx(**changes):
    return AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        **changes,
    )


def ssvae():
    return AutoencoderKLSSVAE.from_preset("tiny", z_dim=4, base_channels=8)


@pytest.mark.parametrize(
    ("make", "size", "shape"),
    [
        (ssvae, (9, 32, 32), (4, 3, 8, 8)),
        (wan, (9, 32, 32), (4, 3, 4, 4)),
        (cogvideox, (9, 32, 32), (4, 3, 4, 4)),
        (hunyuan, (9, 32, 32), (4, 3, 4, 4)),
        (ltx, (9, 32, 32), (8, 3, 2, 2)),
    ],
)
def test_every_class_behind_one_protocol(make, size, shape, tmp_path):
    torch.manual_seed(0)
    backbone = Backbone(make().eval())
    clips = torch.rand(2, 3, *size) * 2 - 1
    posterior = backbone.encode(clips)
    assert backbone.latent_shape(*size) == shape
    assert posterior.mean.shape == (2, *shape)
    assert backbone.decode(posterior.mean).shape == clips.shape
    generator = torch.Generator().manual_seed(0)
    assert posterior.sample(generator).shape == (2, *shape)
    # Saved and loaded by the class that its config names: the same numbers.
    backbone.vae.save_pretrained(tmp_path / "vae")
    again = load_backbone(tmp_path / "vae")
    assert again.layout == backbone.layout
    assert torch.allclose(again.encode(clips).mean, posterior.mean, atol=1e-5)


def test_statistics_come_from_the_config():
    assert Backbone(wan()).layout.mean == (0.5,) * 4
    assert Backbone(wan()).layout.std == (2.0,) * 4
    assert Backbone(hunyuan()).layout.std == (1 / 0.476986,) * 4


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"4n \+ 1 frames .* multiples of 8"):
        Backbone(wan()).encode(torch.zeros(1, 3, 8, 32, 32))
    with pytest.raises(ValueError, match="a VAE must be one of AutoencoderKLSSVAE"):
        Backbone(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timestep_conditioning"):
        Backbone(ltx(timestep_conditioning=True))
    with pytest.raises(ValueError, match="the model in /no/such/folder does not load"):
        load_backbone("/no/such/folder")
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match="does not load: its config.json is of UNet2DModel"):
        load_backbone(tmp_path)
