"""Training of models whose clips are grey or have alpha."""

import dataclasses
import math

import pytest
import torch

from small_runs import OTHERS, cpu, rows, small, with_regularizers
from ssvae.data.world import World
from ssvae.models.channels import with_channels
from ssvae.models.finding import load_vae
from ssvae.recipes import RECIPES, distil
from ssvae.vae import problems_of, train_autoencoder
from ssvae.vae.recipe import AdaptRecipe, ClipConfig, GANConfig, ImagesConfig, ValidationConfig

GAN = GANConfig(start=1, channels=8, halvings=1, time_halvings=1, r1_weight=1.0)


def of(channels: int, **changes):
    recipe = small(**changes)
    model = dataclasses.replace(recipe.model, in_channels=channels, out_channels=channels)
    return dataclasses.replace(recipe, model=model)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return train_autoencoder(
        small(steps=2), tmp_path_factory.mktemp("colours") / "run", cpu()
    ).parents[1]


@pytest.mark.parametrize("channels", [1, 4])
def test_each_part_of_training(tmp_path, channels):
    recipe = of(
        channels, steps=3, clip=ClipConfig(9, 32, 32), gan=GAN, learned_variance=True,
        images=ImagesConfig(share=0.3, batch_size=2),
        validation=ValidationConfig(every=3, clips=2, shown=1),
    )  # fmt: skip
    train_autoencoder(with_regularizers(recipe, *OTHERS), tmp_path / "run", cpu())
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3]
    parts = {"lcr", "scale_equivariance", "motion", "spectrum_matching", "kl"}
    for row in rows(tmp_path / "run"):
        assert parts <= set(row)
        assert math.isfinite(row["loss"])
    assert {"generator", "discriminator", "r1"} <= set(rows(tmp_path / "run")[-1])
    vae = load_vae(tmp_path / "run")
    assert vae.config["in_channels"] == vae.config["out_channels"] == channels
    assert list((tmp_path / "run").rglob("*.mp4"))


def test_a_model_of_colours_begins_one_with_alpha_and_learns_it(colours, tmp_path):
    """From full alpha everywhere; of a shape on nothing, most of which is seen to be wrong."""
    recipe = of(4, steps=80, init=str(colours), learning_rate=2e-3, checkpoint_every=80)
    begun = with_channels(load_vae(colours), 4)
    train_autoencoder(recipe, tmp_path / "run", cpu())
    learned, clips = (
        load_vae(tmp_path / "run"),
        World(9, 16, 16, seed=9, channels=4).batch(range(8)).video,
    )
    with torch.no_grad():
        before, after = ((vae(clips).sample - clips).abs()[:, 3].mean() for vae in (begun, learned))
    assert before > 1
    assert after < before / 2


def test_adapt_and_distil_take_the_channels_of_their_models(colours, tmp_path):
    wide = tmp_path / "wide"
    with_channels(load_vae(colours), 4).save_pretrained(wide)
    clip = ClipConfig(9, 16, 16)
    adapt = dataclasses.replace(
        RECIPES["adapt"](),
        model=str(wide),
        data="world",
        steps=2,
        clip=clip,
        batch_size=2,
        perceptual=small().perceptual,
    )
    assert isinstance(adapt, AdaptRecipe)
    train_autoencoder(adapt, tmp_path / "adapted", cpu())
    student = dataclasses.replace(
        distil(), teacher=str(wide), data="world", steps=2, clip=clip, batch_size=2, warmup_steps=1
    )
    train_autoencoder(student, tmp_path / "student", cpu())
    for run in ("adapted", "student"):
        assert load_vae(tmp_path / run).config["in_channels"] == 4


def test_what_cannot_be_trained_is_told():
    recipe = small()
    for taken, made, told in (
        (3, 4, "has 3 and 4 channels, which cannot be compared"),
        (2, 2, "got 2"),
    ):
        model = dataclasses.replace(recipe.model, in_channels=taken, out_channels=made)
        (problem,) = problems_of(dataclasses.replace(recipe, model=model))
        assert told in problem
