import dataclasses

import pytest
import torch

from small_runs import cpu, small, step, with_regularizers
from ssvae.data import World
from ssvae.recipes import without_regularizers
from ssvae.regularizers import Draws, LatentConsistency
from ssvae.vae import problems_of
from ssvae.vae.trainer import VAETrainer


def test_the_distance_and_where_its_gradient_goes():
    mean = torch.zeros(2, 3, 1, 2, 2, requires_grad=True)
    again = torch.full_like(mean, 0.5).detach().requires_grad_()
    loss = LatentConsistency()(again, mean)
    assert loss.item() == pytest.approx(0.25)
    loss.backward()
    assert mean.grad is None
    assert again.grad is not None
    torch.testing.assert_close(again.grad, torch.full_like(again, 2 * 0.5 / again.numel()))
    with pytest.raises(ValueError, match="must have one shape"):
        LatentConsistency()(again[:1], mean)


def test_it_brings_the_latents_of_a_reconstruction_nearer():
    """On one batch, with nothing but the term between them."""
    clips, ends = World(9, 16, 16).batch(range(4)), []
    for names in ((), ("latent_consistency",)):
        plain = without_regularizers(small(learning_rate=3e-3))
        trainer = VAETrainer(with_regularizers(plain, *names), cpu())
        for number in range(1, 31):
            row = step(trainer, number, (clips,))
        assert ("latent_consistency" in row) == bool(names)
        with torch.no_grad():
            video, backbone = clips.on("cpu"), trainer.backbone
            mean = backbone.encode(video).mean
            again = backbone.encode(backbone.decode(mean)).mean
        ends.append(float((again - mean).square().mean() / mean.square().mean()))
    assert ends[1] < 0.8 * ends[0]


def test_a_wrong_weight_is_told():
    recipe = with_regularizers(small(), "latent_consistency")
    config = recipe.latent_consistency
    wrong = type(config)(enabled=True, weight=0.0)
    assert any(
        "latent_consistency: weight must be a positive number" in problem
        for problem in problems_of(type(recipe)(**{**vars(recipe), "latent_consistency": wrong}))
    )


def test_a_frozen_encoder_still_teaches_the_decoder():
    recipe = with_regularizers(without_regularizers(small()), "latent_consistency")
    frozen = dataclasses.replace(recipe, freeze_encoder=True, kl_weight=0.0)
    trainer = VAETrainer(frozen, cpu())
    vae, clips = trainer.backbone.vae, World(9, 16, 16).batch(range(2)).on("cpu")
    outcome = trainer.objective(clips, Draws(torch.Generator().manual_seed(0)))
    (gradient,) = torch.autograd.grad(
        outcome.terms["latent_consistency"], vae.decoder.conv_out.weight
    )
    assert gradient.any()
