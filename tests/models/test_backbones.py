import json
import re
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLAllegro,
    AutoencoderKLCogVideoX,
    AutoencoderKLCosmos,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLMagvit,
    AutoencoderKLMochi,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    AutoencoderVidTok,
)

from ssvae.analysis import analyze, findings
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.classes import CLASSES
from ssvae.models.layouts import Layout, Lengths, causal, common_length, uniform
from ssvae.regularizers import LCRConfig, LMRConfig, balance, local_correlation
from ssvae.training import make_accelerator
from ssvae.vae import AdaptRecipe, ClipConfig, GANConfig, ValidationConfig, train_autoencoder


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


def mochi():
    return AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4,
        latent_channels=4,
        layers_per_block=(1,) * 5,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def cosmos():
    return AutoencoderKLCosmos(
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=64,
        num_layers=1,
        patch_size=4,
        spatial_compression_ratio=8,
        temporal_compression_ratio=8,
    )


def hunyuan15():
    return AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(16,) * 5, layers_per_block=1
    )


def ltx2():
    return AutoencoderKLLTX2Video(
        latent_channels=8,
        block_out_channels=(8, 16, 32, 64),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 4,
    )


def newer(name, **settings):
    """A class that older versions of diffusers lack."""
    if not hasattr(diffusers, name):
        pytest.skip(f"diffusers {diffusers.__version__} has no {name}")
    return getattr(diffusers, name)(**settings)


def kvae():
    return newer("AutoencoderKLKVAEVideo", ch=32, ch_mult=(1,) * 4, num_res_blocks=1, z_channels=4)


def qwen():
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1] * 4,
        num_res_blocks=1,
        latents_mean=[0.5] * 4,
        latents_std=[2.0] * 4,
    )


def magvit():
    return AutoencoderKLMagvit(
        latent_channels=4, block_out_channels=[8] * 4, layers_per_block=1, norm_num_groups=4
    )


def allegro(**changes):
    return AutoencoderKLAllegro(
        **dict(latent_channels=4, block_out_channels=(8,) * 4, layers_per_block=1) | changes,
        norm_num_groups=4,
    )


def minimax():
    return newer(
        "AutoencoderKLMiniMaxH3",
        latent_channels=4,
        block_out_channels=(8,) * 6,
        layers_per_block=1,
        norm_num_groups=4,
        decoder_num_layers=1,
        decoder_num_attention_heads=2,
        decoder_attention_head_dim=16,
        latents_mean=(0.0,) * 4,
        latents_std=(1.0,) * 4,
    )


def vidtok(**changes):
    return AutoencoderVidTok(
        **(dict(ch=8, ch_mult=[1, 2, 2, 2], z_channels=4, num_res_blocks=1) | changes)
    )


def image():
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
    )


def ssvae():
    return AutoencoderKLSSVAE.from_preset("tiny", z_dim=4, base_channels=8)


EVERY = pytest.mark.parametrize(
    ("make", "size", "shape"),
    [
        (ssvae, (9, 32, 32), (4, 3, 8, 8)),
        (wan, (9, 32, 32), (4, 3, 4, 4)),
        (cogvideox, (9, 32, 32), (4, 3, 4, 4)),
        (hunyuan, (9, 32, 32), (4, 3, 4, 4)),
        (ltx, (9, 32, 32), (8, 3, 2, 2)),
        (mochi, (13, 32, 32), (4, 3, 4, 4)),
        (cosmos, (17, 32, 32), (4, 3, 4, 4)),
        (vidtok, (9, 32, 32), (4, 3, 4, 4)),
        (hunyuan15, (9, 32, 32), (4, 3, 2, 2)),
        (ltx2, (17, 64, 64), (8, 3, 2, 2)),
        (kvae, (9, 32, 32), (4, 3, 4, 4)),
        (qwen, (9, 32, 32), (4, 3, 4, 4)),
        (magvit, (9, 32, 32), (4, 3, 4, 4)),
        (allegro, (8, 32, 32), (4, 2, 4, 4)),
        (minimax, (22, 32, 32), (4, 7, 2, 2)),
        (image, (3, 16, 24), (4, 3, 8, 12)),
        (image, (1, 16, 24), (4, 1, 8, 12)),
    ],
)


@EVERY
def test_every_class_behind_one_protocol(make, size, shape, tmp_path):
    torch.manual_seed(0)
    backbone = Backbone(make().eval())
    clips = torch.rand(2, 3, *size) * 2 - 1
    posterior = backbone.encode(clips)
    assert not posterior.mean.requires_grad
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


@EVERY
def test_every_class_is_analysed(make, size, shape):
    torch.manual_seed(0)
    analysis = analyze(make().eval(), torch.rand(4, 3, *size) * 2 - 1, cost=True)
    assert analysis.protocol.latent_shape == shape
    assert analysis.model.lone_first_frame == (make not in (image, allegro))
    layout = Backbone(make()).layout
    if shape[1] > 1 and make is not minimax:  # whose later clips have a lone first frame too
        assert analysis.compression["time"] == layout.time_factor
    assert analysis.compression["width"] == layout.space_factor
    parts = analysis.model.encoder_parameters, analysis.model.decoder_parameters
    assert 0 < sum(parts) <= analysis.model.parameters
    assert analysis.cost is not None
    assert analysis.cost.decode_seconds > 0
    json.dumps(analysis.summary(), allow_nan=False)
    findings(analysis)


@EVERY
def test_every_class_trains_a_step(make, size, shape, tmp_path, caplog):
    """Masked, balanced, decoded: through the trainer that `ssvae train adapt` runs."""
    make().save_pretrained(tmp_path / "model" / "vae")
    recipe = AdaptRecipe(
        steps=1,
        model=str(tmp_path / "model"),
        subfolder="vae",
        clip=ClipConfig(*size),
        batch_size=2,
        lcr=LCRConfig(enabled=True, weight=0.5, threshold=1.0),
        lmr=LMRConfig(enabled=True, ratios=(0.5,), probabilities=(1.0,)),
        gan=GANConfig(start=0, channels=4, halvings=2),
        learning_rate=1e-3,
        warmup_steps=0,
        validation=ValidationConfig(every=1, clips=2),
    )
    accelerator = make_accelerator("cpu")
    with caplog.at_level("INFO", logger="ssvae"):
        last = train_autoencoder(recipe, tmp_path / "run", accelerator)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["lcr_weight"] > 0
    assert row["generator_weight"] > 0
    before, after = load_backbone(tmp_path / "model" / "vae"), load_backbone(last / "vae")
    assert after.name == before.name
    changed = {
        name.split(".")[0]
        for (name, a), b in zip(before.vae.named_parameters(), after.vae.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert changed >= {"encoder", "decoder"}
    has_kl = make not in (cosmos, kvae)
    assert ("kl" in row) == has_kl
    assert ("KL is left out" in caplog.text) != has_kl
    figures = json.loads((tmp_path / "run" / "validation.jsonl").read_text())
    assert -1 <= figures["local_correlation"] <= 1


@EVERY
def test_gradient_checkpointing_changes_no_gradient(make, size, shape):
    torch.manual_seed(0)
    backbone = Backbone(make().train())
    clips = torch.rand(1, 3, *size) * 2 - 1

    def gradients() -> list[torch.Tensor]:
        backbone.vae.zero_grad()
        moments = balance(
            backbone.encode(clips, train=True).parameters,
            lambda m: 1 - local_correlation(backbone.posterior(m).mean, (1, 2, 2)).average,
            backbone.encoders_last_layer,
        )
        made = backbone.decode(backbone.posterior(moments).mean, train=True)
        (made - clips).square().mean().backward()
        return [p.grad.clone() for p in backbone.vae.parameters() if p.grad is not None]

    if not (backbone.vae._supports_gradient_checkpointing and CLASSES[backbone.name].checkpoints):
        return
    plain = gradients()
    assert len(plain) == len(list(backbone.vae.parameters()))
    backbone.enable_gradient_checkpointing()
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


@EVERY
def test_the_page_s_table(make, size, shape):
    vae = make()
    backbone = Backbone(vae)
    page = (Path(__file__).parents[2] / "docs" / "own-vae.md").read_text()
    rows = re.findall(
        r"^\| `(Autoencoder\w+)`[^|]* \|[^|]*\| (\w+) \| `([\w.]+)` \| (\w+) \| (\w+) \|$",
        page,
        re.M,
    )
    assert {name for name, *_ in rows} == set(CLASSES)
    ((_, alone, layer, variance, checkpoints),) = [row for row in rows if row[0] == backbone.name]
    assert vae.get_submodule(layer) is backbone.encoders_last_layer
    assert (alone, variance) == tuple(
        "yes" if it else "no" for it in (backbone.lone_first_frame, backbone.layout.has_variance)
    )
    if checkpoints == "no":
        with pytest.raises(ValueError, match="cannot train under gradient checkpointing"):
            backbone.enable_gradient_checkpointing()


def test_a_frozen_encoder_leaves_the_decoder():
    backbone = Backbone(wan())
    backbone.freeze_encoder()
    free = {n.split(".")[0] for n, p in backbone.vae.named_parameters() if p.requires_grad}
    assert free == {"decoder", "post_quant_conv"}


@pytest.mark.slow
def test_allegro_is_its_own_tiled_form_on_one_tile():
    torch.manual_seed(0)
    vae = allegro(block_out_channels=(4, 4, 4, 4)).eval()
    vae.enable_tiling()
    backbone = Backbone(vae)
    clip = torch.rand(1, 3, 24, 320, 320) * 2 - 1
    with torch.no_grad():
        tiled = vae.encode(clip).latent_dist.mean
        assert torch.equal(backbone.encode(clip).mean, tiled)
        # It puts frames before channels.
        assert torch.equal(backbone.decode(tiled), vae.decode(tiled).sample.transpose(1, 2))


def test_lengths():
    for rule, fits, latents in (
        (causal(4), {1, 5, 9}, {1: 1, 5: 2, 9: 3}),
        (uniform(4), {4, 8}, {4: 1, 8: 2}),
        (Lengths(17, 5, 5, 2, least=1), {22, 39}, {22: 7, 39: 12}),
    ):
        assert {n for n in range(max(fits) + 1) if rule.fits(n)} == fits
        assert all(rule.fits(n) and rule.latent_frames(n) == m for n, m in latents.items())
    like = Backbone(wan()).layout
    other = Layout(4, 4, 8, (0.0,) * 4, (1.0,) * 4, uniform(4))
    assert common_length([like, Backbone(mochi()).layout], 17) == 13
    assert common_length([other], 3) == 4
    with pytest.raises(ValueError, match=r"which take 4n \+ 1 and 4n"):
        common_length([like, other], 9)


def test_a_class_that_is_not_listed_trains_with_its_layout():
    class Mine(AutoencoderKLWan):
        pass

    mine = Backbone(Mine(base_dim=8, z_dim=4, dim_mult=[1] * 4, num_res_blocks=1))
    layout = mine.layout
    assert (layout.channels, layout.time_factor, layout.space_factor) == (4, 4, 8)
    assert layout.clip_lengths == causal(4)
    for backbone in (mine, Backbone(wan(), Layout(4, 4, 8, (0.0,) * 4, (1.0,) * 4))):
        assert backbone.encoders_last_layer is backbone.vae.quant_conv


def test_statistics_come_from_the_config():
    assert Backbone(wan()).layout.mean == (0.5,) * 4
    assert Backbone(wan()).layout.std == (2.0,) * 4
    assert Backbone(hunyuan()).layout.std == (1 / 0.476986,) * 4


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"4n \+ 1 frames .* multiples of 8"):
        Backbone(wan()).encode(torch.zeros(1, 3, 8, 32, 32))
    with pytest.raises(ValueError, match="this Linear takes no clips"):
        Backbone(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="discrete latents"):
        Backbone(vidtok(regularizer="fsq", double_z=False, z_channels=6, codebook_size=262144))
    with pytest.raises(ValueError, match="no causal time"):
        Backbone(vidtok(is_causal=False))
    with pytest.raises(ValueError, match="timestep_conditioning"):
        Backbone(ltx(timestep_conditioning=True))
    with pytest.raises(ValueError, match="the model in /no/such/folder does not load"):
        load_backbone("/no/such/folder")
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match="does not load: its config.json is of UNet2DModel"):
        load_backbone(tmp_path)
