"""REPA: teachers, their features of a cache's clips, and training with them."""

import dataclasses

import pytest
import torch
from transformers import DINOv3ViTConfig, DINOv3ViTModel, VJEPA2Config, VJEPA2Model

from small_diffusion import small_recipe
from small_runs import cpu, rows
from ssvae.data import open_source
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.building import problems_of
from ssvae.diffusion.recipe import RepaConfig, TransformerConfig
from ssvae.diffusion.repa import Repa
from ssvae.diffusion.teachers import TeacherFeatures, load_teacher, on_grid
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import load_backbone

TWO = TransformerConfig(layers=2, heads=2, head_dim=16, ffn_dim=32, freq_dim=32)
CPU = torch.device("cpu")
PROBE = "ssvae.evaluation.probe:repa_teacher"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A tiny DINOv3 and a tiny V-JEPA 2, of random weights."""
    folder, small = tmp_path_factory.mktemp("networks"), dict(num_hidden_layers=1, patch_size=4)
    torch.manual_seed(0)
    dino = DINOv3ViTConfig(
        hidden_size=16, num_attention_heads=2, intermediate_size=16, num_register_tokens=2, **small
    )
    DINOv3ViTModel(dino).save_pretrained(folder / "dino")
    vjepa = VJEPA2Config(
        hidden_size=24, num_attention_heads=2, mlp_ratio=1, tubelet_size=2, pred_hidden_size=24,
        pred_num_hidden_layers=1, pred_num_attention_heads=2, pred_num_mask_tokens=1, **small,
    )  # fmt: skip
    VJEPA2Model(vjepa).save_pretrained(folder / "vjepa")
    return folder


def test_the_encoders_features_are_what_its_last_layer_is_given(cache):
    held = LatentCache(cache)
    teacher = load_teacher("encoder", held.vae, held.shape, CPU)
    clips = open_source("world", *held.config.size).batch(range(2)).video
    features = teacher.run(clips)
    backbone = load_backbone(held.vae)
    moments, _ = backbone.encoders_last_layer(features)
    quant = getattr(backbone.vae, "quant_conv", None) or torch.nn.Identity()
    mean = quant(moments)[:, : held.shape[0]]
    torch.testing.assert_close(mean, backbone.vae.encode(clips).latent_dist.mean)


def test_patches_stand_where_they_are(cache, networks):
    """A bright corner changes that corner's features most."""
    held = LatentCache(cache)
    for kind, frames in (("dino", 9), ("vjepa", 5)):
        teacher = load_teacher(f"{kind}:{networks / kind}", held.vae, held.shape, CPU)
        clips = torch.zeros(1, 3, 9, 32, 32)
        plain = teacher.run(clips)
        assert plain.shape[2:] == (frames, *held.shape[2:])
        clips[..., :4, 28:] = 1
        change = (teacher.run(clips) - plain).square().sum((0, 1, 2))
        assert int(change.argmax()) == held.shape[3] - 1


def test_means_over_what_latents_stand_for():
    features = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 1, 9, 4, 4)
    lone = on_grid(features, (3, 2, 2), lone_first_frame=True)
    assert lone[0, 0, :, 0, 0].tolist() == [0, 2.5, 6.5]
    assert on_grid(features, (3, 2, 2), lone_first_frame=False)[0, 0, :, 0, 0].tolist() == [1, 4, 7]


def test_features_are_written_once_and_are_of_the_caches_clips(cache, networks):
    held, accelerator = LatentCache(cache), cpu()
    found = TeacherFeatures(held, f"dino:{networks / 'dino'}")
    found.write(accelerator)
    (path,) = found._paths
    before = path.stat().st_mtime_ns
    TeacherFeatures(held, found.spec).write(accelerator)
    assert path.stat().st_mtime_ns == before
    teacher = load_teacher(found.spec, held.vae, held.shape, CPU)
    source = open_source("world", *held.config.size, seed=held.config.seed)
    whole = on_grid(
        teacher.run(source.batch(held.clips(range(20))).video),
        held.shape[1:],
        lone_first_frame=True,
    )
    std, mean = torch.std_mean(whole, (0, 2, 3, 4), keepdim=True)
    expected = ((whole - mean) / std)[[3, 17]]
    torch.testing.assert_close(found.features([3, 17]), expected, atol=1e-2, rtol=1e-2)
    assert found.width == 16


def test_the_loss_is_the_angle_to_the_features():
    torch.manual_seed(0)
    block = torch.nn.Linear(8, 8)
    repa = Repa(block, width=8, features=5, patch=(1, 2, 2))
    tokens = block(torch.randn(3, 12, 8))  # 3 x 2 x 2 patches
    features = torch.randn(3, 5, 3, 4, 4)
    loss = repa(features)
    means = features.unfold(3, 2, 2).unfold(4, 2, 2).mean((-1, -2))  # (3, 5, 3, 2, 2)
    target = means.flatten(2).transpose(1, 2)
    cosine = torch.nn.functional.cosine_similarity(repa.projector(tokens), target, dim=-1)
    torch.testing.assert_close(loss, 1 - cosine.mean(1))
    loss.sum().backward()
    assert block.weight.grad is not None


def test_a_function_is_a_teacher(cache, tmp_path):
    """The world's probe is one; one whose code changes is another."""
    held = LatentCache(cache)
    clips = open_source("world", *held.config.size).batch(range(2)).video
    teacher = load_teacher(PROBE, held.vae, held.shape, CPU)
    assert teacher.run(clips).shape == (2, 128, 3, 4, 4)
    file = tmp_path / "own.py"
    seen = set()
    for factor in (1, 2):
        file.write_text(f"def make():\n    return lambda clips: {factor} * clips\n")
        own = load_teacher(f"{file}:make", held.vae, held.shape, CPU)
        assert torch.equal(own.run(clips), factor * clips)
        seen.add(own.fingerprint)
    assert len(seen) == 2
    with pytest.raises(ValueError, match="has no function other"):
        load_teacher(f"{file}:other", held.vae, held.shape, CPU)


@pytest.mark.parametrize("teacher", ["encoder", "vjepa", PROBE])
def test_runs_with_a_teacher_go_on_exactly(cache, networks, tmp_path, teacher):
    spec = f"{teacher}:{networks / teacher}" if teacher == "vjepa" else teacher
    recipe = small_recipe(cache, model=TWO, repa=RepaConfig(teacher=spec))
    train_diffusion(recipe, tmp_path / "whole", cpu())
    whole = rows(tmp_path / "whole")
    assert 0 < whole[0]["repa"] < 2
    for steps in (2, 4):
        end = train_diffusion(dataclasses.replace(recipe, steps=steps), tmp_path / "parts", cpu())
    assert rows(tmp_path / "parts") == whole
    assert (end / "repa").is_dir()
    # Another run starts from it, with a teacher or without.
    for more in (RepaConfig(teacher=spec), RepaConfig()):
        other = dataclasses.replace(recipe, init=str(tmp_path / "whole"), repa=more, steps=1)
        train_diffusion(other, tmp_path / f"from-{more.teacher is None}", cpu())


def test_a_run_without_a_teacher_is_as_before(cache, tmp_path):
    plain = small_recipe(cache, model=TWO)
    train_diffusion(plain, tmp_path / "run", cpu())
    assert "repa" not in rows(tmp_path / "run")[0]
    assert not list((tmp_path / "run").rglob("repa"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RepaConfig(teacher="dino"), "repa.teacher must be encoder, dino:NAME"),
        (RepaConfig(teacher="encoder:x"), "repa.teacher must be encoder, dino:NAME"),
        (RepaConfig(weight=0.0), "repa.weight must be positive"),
        (RepaConfig(block=3), "repa.block must be a block from 1 to the model's 2, got 3"),
    ],
)
def test_settings_that_are_none(cache, config, message):
    found = problems_of(small_recipe(cache, model=TWO, repa=config))
    assert any(message in problem for problem in found), found
