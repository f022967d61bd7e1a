"""Each regulariser in a training step."""

import dataclasses
import math

import pytest
import torch

from small_runs import OTHERS, cpu, rows, small, step, with_regularizers
from ssvae.data import World
from ssvae.recipes import without_regularizers
from ssvae.storage.settings import replaced
from ssvae.training.loop import check_problems
from ssvae.transforms import resized
from ssvae.vae import problems_of, train_autoencoder
from ssvae.vae.recipe import GANConfig, PerceptualConfig, VAERecipe
from ssvae.vae.trainer import VAETrainer


def alone(name: str, **changes) -> VAERecipe:
    plain = without_regularizers(small(steps=3, checkpoint_every=2, **changes))
    return with_regularizers(plain, name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> list[dict]:
    out = tmp_path_factory.mktemp("plain") / "run"
    train_autoencoder(without_regularizers(small(steps=3)), out, cpu())
    return rows(out)


@pytest.mark.parametrize("name", OTHERS)
def test_each_acts_and_resumes_exactly(name, tmp_path, plain):
    recipe = alone(name)
    train_autoencoder(recipe, tmp_path / "run", cpu())
    found = rows(tmp_path / "run")
    assert [r["l1"] for r in found] != [r["l1"] for r in plain]
    for row in found:
        total = row["l1"] + 5e-4 * row["kl"]
        config = getattr(recipe, name)
        if hasattr(config, "weight"):
            total += config.weight * row[name]
        if name == "future_dropping":
            total += config.motion_weight * row["motion"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    two = tmp_path / "two"
    train_autoencoder(dataclasses.replace(recipe, steps=2, decay_steps=3), two, cpu())
    train_autoencoder(dataclasses.replace(recipe, decay_steps=3), two, cpu())
    assert rows(two) == found


def test_all_at_once_with_images():
    recipe = with_regularizers(small(), *OTHERS)
    assert problems_of(recipe) == []
    trainer = VAETrainer(recipe, cpu())
    for number, frames in enumerate((9, 1), 1):
        row = step(trainer, number, (World(frames, 16, 16).batch(range(2)),))
        assert all(torch.isfinite(torch.tensor(value)) for value in row.values())


def test_the_adversary_compares_alike(monkeypatch):
    """What equivariance makes smaller is judged beside true clips that it made smaller."""
    recipe = alone("equivariance", gan=GANConfig(start=0, channels=4, halvings=1))
    for setting, value in dict(probability=1.0, scales=(0.5, 0.7), turns=False).items():
        recipe = replaced(recipe, f"equivariance.{setting}", value)
    trainer, clips = VAETrainer(recipe, cpu()), World(9, 16, 16).batch(range(2))
    assert trainer.adversary is not None
    seen = []
    learn = trainer.adversary.learn

    def listen(true: torch.Tensor, made: torch.Tensor, last: bool) -> dict[str, torch.Tensor]:
        seen.append((true, made))
        return learn(true, made, last)

    monkeypatch.setattr(trainer.adversary, "learn", listen)
    step(trainer, 1, (clips,))
    ((true, made),) = seen
    assert true.shape == made.shape
    side = true.shape[-1]
    assert 8 <= side < 16
    torch.testing.assert_close(true, resized(clips.on("cpu"), side, side))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("latent_noise.gamma", -1.0, "latent_noise: gamma must be a positive"),
        ("equivariance.probability", 2.0, r"equivariance: probability must be in \[0, 1\]"),
        ("channel_prefix.shares", (2.0,), r"channel_prefix: shares must be in \(0, 1\]"),
        ("input_masking.max_ratio", 1.5, "input_masking: max_ratio"),
        ("future_dropping.probability", -0.5, "future_dropping: probability"),
        ("spectrum_matching.weight", -0.1, "spectrum_matching: weight must be"),
        ("scale_equivariance.factors", (0.5,), "scale_equivariance: factors"),
    ],
)
def test_settings_that_are_none(setting, value, message):
    recipe = replaced(small(), setting, value)
    with pytest.raises(ValueError, match=message):
        check_problems(problems_of(recipe))


def test_what_does_not_go_together():
    frozen = dataclasses.replace(alone("spectrum_matching"), freeze_encoder=True, init="x")
    assert any("turn spectrum_matching.enabled off" in problem for problem in problems_of(frozen))
    perceptual = alone("scale_equivariance", perceptual=PerceptualConfig(weight=1.0))
    (problem,) = problems_of(perceptual)
    assert "got 16x16, scaled by scale_equivariance" in problem
    gan = GANConfig(start=0, channels=4, halvings=2)
    assert problems_of(alone("scale_equivariance", gan=gan)) == []  # its small pair is not judged
    (problem,) = problems_of(alone("equivariance", gan=gan))
    assert "gan needs sides of at least 12 pixels, got 16x16, scaled by equivariance" in problem
    several = alone("equivariance")
    for setting, value in {"equivariance.probability": 3.0, "latent_noise.gamma": math.inf}.items():
        several = replaced(several, setting, value)
    problems = " ".join(problems_of(several))
    assert "equivariance: " in problems
    assert "latent_noise: " in problems
