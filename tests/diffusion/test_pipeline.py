import dataclasses
import math
import shutil

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from transformers import ByT5Tokenizer, UMT5Config, UMT5EncoderModel

from small_diffusion import small_recipe
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.pipeline import (
    assemble,
    generate,
    load_config,
    load_pipeline,
    save_pipeline,
)
from ssvae.latents.cache import LatentCache
from ssvae.latents.mapped import MappedAutoencoder, save_map
from ssvae.latents.maps import MapConfig
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.storage.runs import checkpoints
from ssvae.storage.seeds import generator_of
from ssvae.training import make_accelerator

CAPTIONS = ["a red disc moving left over coarse waves", "a blue cross moving up over fine waves"]
SIZE = (9, 32, 32)


def last(run):
    return checkpoints(run)[-1][1]


def test_a_clip_depends_on_its_place_and_seed_alone(run):
    pipeline = assemble(last(run))
    both = generate(pipeline, CAPTIONS, SIZE, steps=2)
    assert both.shape == (2, 3, *SIZE)
    assert both.abs().max() <= 1
    one_by_one = generate(pipeline, CAPTIONS, SIZE, steps=2, batch_size=1)
    assert torch.allclose(both, one_by_one, atol=1e-4)
    assert not torch.allclose(both, generate(pipeline, CAPTIONS, SIZE, steps=2, seed=1), atol=1e-3)


@pytest.mark.quick
@pytest.mark.parametrize("mapped", [False, True])
def test_an_export_loads_in_plain_diffusers(mapped, run, cache, tmp_path):
    if mapped:
        config = MapConfig(normalization="principal", power=1.5, scramble=(1, 2, 2))
        save_map(LatentCache(cache).fit(config), tmp_path / "map.safetensors")
        recipe = small_recipe(cache, map=str(tmp_path / "map.safetensors"), steps=1)
        train_diffusion(recipe, tmp_path / "run", make_accelerator("cpu"))
        run = tmp_path / "run"
    ours = assemble(last(run))
    clips = generate(ours, CAPTIONS, SIZE, steps=2, guidance=3.0)
    save_pipeline(ours, load_config(last(run)), tmp_path / "pipeline")

    plain = WanPipeline.from_pretrained(tmp_path / "pipeline")
    assert isinstance(plain.vae, MappedAutoencoder) == mapped
    generators = [generator_of(0, i) for i in range(2)]
    frames = plain(
        CAPTIONS,
        height=32,
        width=32,
        num_frames=9,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=generators,
        output_type="pt",
    ).frames
    assert torch.allclose(frames.transpose(1, 2) * 2 - 1, clips, atol=1e-4)
    again = generate(load_pipeline(tmp_path / "pipeline"), CAPTIONS, SIZE, steps=2, guidance=3.0)
    assert torch.allclose(again, clips, atol=1e-4)


def test_a_run_of_an_earlier_version_generates_as_plain_diffusers(run, tmp_path):
    """Wan's own transformer, which attends to the zeros behind a caption, and bytes."""
    old = tmp_path / "old"
    old.mkdir()
    for name in ("pipeline.json", "map.safetensors"):
        shutil.copy(last(run) / name, old)
    torch.manual_seed(0)
    shape = WanTransformer3DModel.load_config(last(run) / "transformer")
    wan = WanTransformer3DModel.from_config(shape | {"_class_name": "WanTransformer3DModel"})
    wan.save_pretrained(old / "transformer")
    width = shape["text_dim"]
    UMT5EncoderModel(
        UMT5Config(vocab_size=384, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).save_pretrained(old / "text_encoder")
    ByT5Tokenizer().save_pretrained(old / "tokenizer")
    pipeline = assemble(old)
    assert type(pipeline.transformer) is WanTransformer3DModel
    clips = generate(pipeline, CAPTIONS, SIZE, steps=2, guidance=3.0)
    frames = pipeline(
        CAPTIONS,
        height=32,
        width=32,
        num_frames=9,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=[generator_of(0, i) for i in range(2)],
        output_type="pt",
    ).frames
    assert torch.allclose(frames.transpose(1, 2) * 2 - 1, clips, atol=1e-4)


def test_the_statistics_go_into_the_vae(run, cache):
    pipeline, statistics = assemble(last(run)), LatentCache(cache).statistics
    assert pipeline.vae.config.latents_mean == pytest.approx(statistics.mean.tolist(), abs=1e-5)
    assert pipeline.vae.config.latents_std == pytest.approx(statistics.std.tolist(), rel=1e-4)


def test_a_mapped_vae_undoes_its_map(vae_folder, cache, tmp_path):
    backbone, latents = load_backbone(vae_folder), LatentCache(cache)
    z = latents.latents([0, 1])
    fitted = latents.fit(MapConfig(normalization="whitened", power=0.5))
    mapped = MappedAutoencoder.of(backbone, fitted)
    assert torch.allclose(mapped.decode(fitted(z)).sample, backbone.decode(z), atol=1e-4)
    clips = backbone.decode(z)
    there = mapped.encode(clips).latent_dist.mode()
    assert torch.allclose(there, fitted(backbone.encode(clips).mean), atol=1e-4)
    mapped.save_pretrained(tmp_path / "mapped")
    again = MappedAutoencoder.from_pretrained(tmp_path / "mapped")
    assert torch.allclose(again.decode(fitted(z)).sample, backbone.decode(z), atol=1e-4)
    assert again.backbone().latent_shape(*SIZE) == latents.shape


@pytest.mark.quick
def test_a_mapped_export_in_bfloat16(run, cache, tmp_path):
    pipeline = assemble(last(run))
    tilted = LatentCache(cache).fit(MapConfig(power=1.5))
    mapped = MappedAutoencoder.of(Backbone(pipeline.vae), tilted)
    pipeline.register_modules(vae=mapped)
    save_pipeline(pipeline, load_config(last(run)), tmp_path / "pipeline")
    half = load_pipeline(tmp_path / "pipeline", dtype=torch.bfloat16)
    assert torch.equal(half.vae.map.gain, tilted.gain)
    clips = generate(half, CAPTIONS, SIZE, steps=2)
    exact = generate(pipeline, CAPTIONS, SIZE, steps=2)
    assert (clips - exact).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("size", "settings", "message"),
    [
        ((10, 32, 32), {}, r"frames must be 4n \+ 1 .* got 10: for example 9"),
        ((-3, 32, 32), {}, "got -3: for example 1"),
        ((0, 32, 32), {}, "got 0: for example 1"),
        ((9, 30, 32), {}, "multiples of 4 and 4 for this model, got 30x32"),
        ((9, 32, 0), {}, "got 32x0"),
        (SIZE, {"guidance": math.nan}, "guidance must be a number of at least 1"),
        (SIZE, {"guidance": 0.5}, "at least 1, which is none, got 0.5"),
    ],
)
def test_what_diffusers_would_round_is_refused(run, size, settings, message):
    with pytest.raises(ValueError, match=message):
        generate(assemble(last(run)), CAPTIONS[:1], size, 1, **settings)


def test_errors_say_what_to_do(run, tmp_path, vae_folder):
    config = load_config(last(run))
    copy = tmp_path / "checkpoint"
    copy.mkdir()
    for item in last(run).iterdir():
        (copy / item.name).symlink_to(item)
    (copy / "pipeline.json").unlink()
    dataclasses.replace(config, vae=str(tmp_path / "gone")).save(copy)
    with pytest.raises(ValueError, match="say where it is with --vae"):
        assemble(copy)
    assert generate(assemble(copy, load_backbone(vae_folder)), CAPTIONS[:1], SIZE, 1).shape[0] == 1
    with pytest.raises(ValueError, match="neither a checkpoint of a diffusion model"):
        assemble(tmp_path)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        generate(assemble(last(run)), CAPTIONS, SIZE, steps=0)
