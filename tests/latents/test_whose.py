"""Latents are of one VAE: all that joins two things of latents compares whose they are."""

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import save_file

from small_models import make
from small_runs import cpu
from ssvae.data import World
from ssvae.data.video_writer import write_video
from ssvae.diffusion.pipeline import assemble, load_config, open_pipeline
from ssvae.diffusion.preview import check_preview
from ssvae.diffusion.trainer import train_diffusion
from ssvae.latents import CacheConfig, LatentCache, MapConfig, load_map, save_map, write_cache
from ssvae.latents.mapped import MappedAutoencoder
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.fingerprint import latents_fingerprint, same_latents
from ssvae.recipes import distil, dit_tiny
from ssvae.storage.runs import checkpoints
from ssvae.vae.distillation import Distillation

CONFIG = CacheConfig("", "world", 6, 5, 16, 16, shard_clips=3)
replace = dataclasses.replace


def changed(vae: AutoencoderKLSSVAE) -> AutoencoderKLSSVAE:
    """The same shape, another encoder."""
    with torch.no_grad():
        vae.encoder.conv_out.weight *= 1.5
    return vae


@pytest.fixture
def folder(tmp_path):
    make({}).save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def cached(folder, out, **changes) -> LatentCache:
    config = replace(CONFIG, vae=str(folder), **changes)
    return write_cache(load_backbone(folder), out, config, cpu())


def recipe(cache: LatentCache, **changes):
    small = replace(dit_tiny().model, layers=1, heads=1, head_dim=16, ffn_dim=32)
    return replace(
        dit_tiny(), latents=str(cache.path), steps=2, batch_size=2, model=small, **changes
    )


def test_all_that_encodes_counts_and_nothing_that_decodes():
    class Wan(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("encoder", "quant_conv", "post_quant_conv", "decoder"):
                setattr(self, name, torch.nn.Linear(3, 3))

    vae = Wan()
    before = latents_fingerprint(vae)
    for name, counts in (("decoder", 0), ("post_quant_conv", 0), ("encoder", 1), ("quant_conv", 1)):
        weight = getattr(vae, name).weight
        with torch.no_grad():
            weight += 1
        assert (latents_fingerprint(vae) != before) == counts, name
        before = latents_fingerprint(vae)


def test_a_student_says_whose_latents_it_learned():
    assert same_latents("a", "b/a")
    assert same_latents("b/a", "a")
    assert same_latents("", "a")
    assert not same_latents("b/a", "c")


def test_models_that_count_no_changes_have_the_same():
    """As ComfyUI and others load them."""
    expected = latents_fingerprint(make({}))
    with torch.inference_mode():
        assert latents_fingerprint(make({})) == expected


def test_a_cache_goes_on_with_no_student_of_its_vae(folder, tmp_path):
    own = latents_fingerprint(load_backbone(folder).vae)
    cached(folder, tmp_path / "cache")
    (tmp_path / "cache" / "index.json").unlink()
    student = changed(make({}))
    student.register_to_config(latents_of=own)
    student.save_pretrained(tmp_path / "student")
    with pytest.raises(ValueError, match="another VAE's latents"):
        cached(tmp_path / "student", tmp_path / "cache")


def test_weights_that_are_not_there_are_not_made_up(folder, tmp_path):
    save_file(
        {"other": torch.zeros(1)}, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ValueError, match=r"its weights lack \d+ of the model's"):
        load_backbone(folder)


def test_the_shipped_model_takes_its_own_vae_alone():
    open_pipeline("world-t2v", "tiny-baseline")
    with pytest.raises(ValueError, match="another VAE's latents"):
        open_pipeline("world-t2v", "tiny")


def test_a_cache_keeps_its_vae_and_goes_on_with_no_other(folder, tmp_path):
    out = tmp_path / "cache"
    cached(folder, out)
    for name in ("index.json", "latents-00001.json"):  # as if stopped after a shard
        (out / name).unlink()
    changed(make({})).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"another VAE's latents .*such as .*cache/vae"):
        cached(folder, out)
    shutil.rmtree(folder)
    whole = cached(out / "vae", out)
    assert whole.vae == str((out / "vae").resolve())
    assert latents_fingerprint(load_backbone(whole.vae).vae) == whole.config.encoder


def test_a_finished_cache_is_not_done_for_another_vae(folder, tmp_path):
    cached(folder, tmp_path / "cache")
    changed(make({})).save_pretrained(folder)
    with pytest.raises(ValueError, match="another VAE's latents"):
        cached(folder, tmp_path / "cache")


@pytest.mark.parametrize("change", ["caption", "file", "content"])
def test_a_cache_is_of_the_files_and_captions_that_it_began_with(change, folder, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for i in range(2):
        write_video(films / f"{i}.mkv", World(5, 16, 16).batch([i]).video[0], 8)
    listed = films / "list.csv"
    listed.write_text("path,caption\n0.mkv,a disc\n1.mkv,a cross\n")
    cached(folder, tmp_path / "cache", data=str(listed))
    cached(folder, tmp_path / "cache", data=str(listed))  # the same: done
    if change == "caption":
        listed.write_text("path,caption\n0.mkv,a disc\n1.mkv,a square\n")
    elif change == "file":
        listed.write_text("path,caption\n0.mkv,a disc\n1.mkv,a cross\n1.mkv,again\n")
    else:
        write_video(films / "1.mkv", World(9, 16, 16).batch([7]).video[0], 8)
    with pytest.raises(ValueError, match="files or captions .* have changed"):
        cached(folder, tmp_path / "cache", data=str(listed))


def test_a_run_and_its_pipeline_take_their_own_vae_alone(folder, tmp_path):
    cache = cached(folder, tmp_path / "cache")
    run = tmp_path / "run"
    train_diffusion(recipe(cache), run, cpu())
    checkpoint = checkpoints(run)[-1][1]
    shutil.rmtree(folder)  # a run's checkpoint may be pruned
    pipeline = assemble(checkpoint)
    assert load_config(checkpoint).encoder == cache.config.encoder
    changed(make({})).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"another VAE's latents .*--vae"):
        open_pipeline(run, str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"another VAE's latents .*take a student"):
        check_preview(pipeline, load_backbone(tmp_path / "other"))
    student = changed(make({}))
    small = replace(distil(), teacher="", data="")
    Distillation(Backbone(student), load_backbone(cache.vae), small)
    student.save_pretrained(tmp_path / "student")
    check_preview(pipeline, load_backbone(tmp_path / "student"))


def test_a_run_does_not_go_on_with_another_cache(folder, tmp_path):
    cache = cached(folder, tmp_path / "cache")
    train_diffusion(recipe(cache), tmp_path / "run", cpu())
    shutil.rmtree(cache.path)
    again = cached(folder, tmp_path / "cache", seed=1)
    with pytest.raises(ValueError, match="is not the one that the run began with"):
        train_diffusion(replace(recipe(again), steps=3), tmp_path / "run", cpu())


def test_a_map_is_of_one_vae(folder, tmp_path):
    cache, path = cached(folder, tmp_path / "cache"), tmp_path / "map.safetensors"
    save_map(cache.fit(MapConfig(normalization="whitened")), path)
    assert load_map(path).encoder == cache.config.encoder
    MappedAutoencoder.of(load_backbone(folder), load_map(path))
    other = changed(make({}))
    with pytest.raises(ValueError, match=r"another VAE's latents .*ssvae fit-map"):
        MappedAutoencoder.of(Backbone(other), load_map(path))
    other.save_pretrained(tmp_path / "other")
    elsewhere = cached(tmp_path / "other", tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"is of another VAE's latents .*ssvae fit-map"):
        train_diffusion(recipe(elsewhere, map=str(path)), tmp_path / "run", cpu())
