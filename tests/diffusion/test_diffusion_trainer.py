import dataclasses
import json
import math
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from small_diffusion import small_recipe
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.average import write_average
from ssvae.diffusion.building import parameters_of, problems_of
from ssvae.diffusion.objective import FlowObjective
from ssvae.diffusion.pipeline import assemble, generate, load_config
from ssvae.diffusion.recipe import Normalization, ObjectiveConfig, TextConfig, TransformerConfig
from ssvae.diffusion.trainer import DiffusionTrainer
from ssvae.latents.cache import CacheConfig, LatentCache
from ssvae.latents.encoding import write_cache
from ssvae.latents.mapped import load_map
from ssvae.latents.maps import NORMALIZATIONS
from ssvae.models.backbones import load_backbone
from ssvae.recipes import DIFFUSION_RECIPES
from ssvae.storage.runs import checkpoints
from ssvae.training import make_accelerator
from ssvae.training.power_means import snapshots_of


def cpu():
    return make_accelerator("cpu")


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_recipe_fits(cache):
    for make in DIFFUSION_RECIPES.values():
        recipe = dataclasses.replace(make(), latents=str(cache))
        assert problems_of(recipe) == []
        assert make.__doc__
        assert parameters_of(recipe) > 1e6


def test_the_run_folder(run):
    metrics = rows(run)
    assert [row["step"] for row in metrics] == [1, 2, 3, 4]
    # A fresh model predicts next to nothing, and the target has variance 2.
    assert metrics[0]["loss"] == pytest.approx(2, abs=0.5)
    assert metrics[1]["learning_rate"] == metrics[3]["learning_rate"] == 1e-3
    for row in metrics:
        by_time = [row[f"loss_t{t}"] for t in ("0.1", "0.3", "0.5", "0.7", "0.9")]
        assert any(value is not None for value in by_time)
    assert [step for step, _ in checkpoints(run)] == [2, 4]
    config = load_config(checkpoints(run)[-1][1])
    assert (config.frames, config.height, config.shift) == (9, 32, 1.0)


def test_a_resumed_run_is_the_unbroken_one(run, cache, tmp_path):
    train_diffusion(small_recipe(cache, steps=2), tmp_path / "run", cpu())
    last = train_diffusion(small_recipe(cache), tmp_path / "run", cpu())
    assert rows(tmp_path / "run") == rows(run)
    unbroken = checkpoints(run)[-1][1]
    for name in ("model.safetensors", "transformer/diffusion_pytorch_model.safetensors"):
        assert (last / name).read_bytes() == (unbroken / name).read_bytes()


def test_a_run_starts_from_another_on_larger_latents(run, vae_folder, tmp_path):
    config = CacheConfig(str(vae_folder), clips=8, height=64, width=64, seed=1)
    larger = write_cache(load_backbone(vae_folder), tmp_path / "larger", config, cpu())
    recipe = small_recipe(larger.path, init=str(run), steps=2)
    trainer = DiffusionTrainer(recipe, cpu())
    last = checkpoints(run)[-1][1]
    averages = load_file(last / "transformer/diffusion_pytorch_model.safetensors")
    for name, weight in trainer.objective.transformer.state_dict().items():
        torch.testing.assert_close(weight, averages[name])
    for shadow, weight in zip(
        trainer.ema.shadow_params, trainer.objective.parameters(), strict=True
    ):
        torch.testing.assert_close(shadow, weight)
    # The weights know latents under that map; a new one would differ a little.
    held = load_map(last / "map.safetensors")
    torch.testing.assert_close(trainer.map.mean, held.mean)
    assert not torch.equal(larger.fit().mean, held.mean)
    on = train_diffusion(recipe, tmp_path / "on", cpu())
    assert load_config(on).height == 64
    wider = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, ffn_dim=48))
    with pytest.raises(ValueError, match="transformer in .* has other weights"):
        DiffusionTrainer(wider, cpu())
    missing = dataclasses.replace(recipe, init="nowhere")
    assert any("init: no model at nowhere" in problem for problem in problems_of(missing))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_either_optimizer_resumes_bit_for_bit_into_its_cooldown(optimizer, cache, tmp_path):
    recipe = small_recipe(cache, optimizer=optimizer, steps=5, cooldown_steps=3)
    train_diffusion(recipe, tmp_path / "whole", cpu())
    train_diffusion(small_recipe(cache, optimizer=optimizer, steps=2), tmp_path / "parts", cpu())
    train_diffusion(recipe, tmp_path / "parts", cpu())
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    rates = [row["learning_rate"] for row in rows(tmp_path / "whole")]
    assert rates == pytest.approx([0.0005, 0.001, 0.00075, 0.0005, 0.00025])
    with pytest.raises(ValueError, match="falls from step 2 on: keep steps"):
        train_diffusion(dataclasses.replace(recipe, steps=9), tmp_path / "parts", cpu())


def test_muon_takes_the_matrices_of_the_blocks_alone(cache):
    trainer = DiffusionTrainer(small_recipe(cache), cpu())
    adamw, muon = (each.param_groups[0]["params"] for each in trainer.optimizers)
    names = {id(p): name for name, p in trainer.objective.named_parameters()}
    assert len(adamw) + len(muon) == len(names)
    for p in muon:
        assert names[id(p)].startswith("transformer.blocks.")
        assert p.ndim == 2
    assert not any(
        p.ndim == 2 and "blocks" in names[id(p)] and "text" not in names[id(p)] for p in adamw
    )
    (only,) = DiffusionTrainer(small_recipe(cache, optimizer="adamw"), cpu()).optimizers
    assert len(only.param_groups[0]["params"]) == len(names)


def test_an_epoch_shows_every_clip_once(cache):
    recipe = small_recipe(cache)
    trainer, latents = DiffusionTrainer(recipe, cpu()), LatentCache(cache)
    seen = [caption for (part,) in trainer.batches(1, 5) for caption in part.captions]
    assert sorted(seen) == sorted(latents.captions)
    again = [caption for (part,) in trainer.batches(6, 10) for caption in part.captions]
    assert sorted(again) == sorted(seen)
    assert again != seen
    # A batch depends on its step alone.
    ((fifth,),) = trainer.batches(5, 5)
    assert fifth.captions == seen[16:]
    clip = latents.latents([latents.captions.index(seen[16])])
    assert torch.allclose(fifth.latents[:1], latents.fit()(clip), atol=1e-5)


def test_batches_add_up_to_one(cache):
    """Half the batch twice: the same clips, and the gradient of all of them."""
    one = DiffusionTrainer(small_recipe(cache, batch_size=4), cpu())
    two = DiffusionTrainer(small_recipe(cache, batch_size=2, accumulate=2), cpu())
    ((whole,),) = one.batches(3, 3)
    (halves,) = two.batches(3, 3)
    assert [c for half in halves for c in half.captions] == whole.captions
    outcome = two.step(3, halves)
    gradients = []
    for number, half in enumerate(halves):
        losses = one._losses(half, 3, number).total
        one.objective.zero_grad()
        losses.mean().backward()
        gradients.append([p.grad.clone() for p in one.objective.parameters()])
    total = sum((a + b).div(2).square().sum() for a, b in zip(*gradients, strict=True))
    assert float(outcome.metrics["grad_norm"]) == pytest.approx(float(total.sqrt()), rel=1e-5)


def test_activations_computed_twice_give_the_same(cache):
    ends = []
    for twice in (False, True):
        trainer = DiffusionTrainer(small_recipe(cache, gradient_checkpointing=twice), cpu())
        (batch,) = trainer.batches(1, 1)
        assert trainer.step(1, batch).updated
        ends.append([p.detach() for p in trainer.objective.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_the_loss_is_that_of_the_velocity():
    class Oracle(torch.nn.Module):
        """Knows the data, so that the velocity follows from x_t: n - x = (x_t - x) / t."""

        def __init__(self, x):
            super().__init__()
            self.x = x

        def forward(self, hidden_states, timestep, **_):
            t = (timestep / 1000).view(-1, 1, 1, 1, 1)
            return ((hidden_states - self.x) / t,)

    x = torch.randn(6, 4, 3, 8, 8)
    objective = FlowObjective(Oracle(x), None, 1.0, ObjectiveConfig())  # type: ignore[arg-type]
    losses = objective(x, (torch.zeros(6, 1, 4),), (0.0, 1.0), torch.Generator().manual_seed(0))
    assert losses.flow.shape == losses.times.shape == (6,)
    assert losses.flow.max() < 1e-6
    assert losses.total is losses.flow


def test_it_learns(cache, tmp_path):
    recipe = small_recipe(cache, steps=60, learning_rate=3e-3, batch_size=8, checkpoint_every=60)
    train_diffusion(recipe, tmp_path / "run", cpu())
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_the_recipe_knows_the_maps_channels():
    assert get_args(Normalization) == NORMALIZATIONS


def test_channels_are_scaled_as_asked(cache):
    """Where no map is given: principal components of variance 1, say, kept with the model."""
    trainer = DiffusionTrainer(small_recipe(cache, normalization="whitened"), cpu())
    (batch,) = next(trainer.batches(1, 1))
    plain = LatentCache(cache)
    whole = trainer.map(plain.latents(range(len(plain)))).movedim(1, 0).flatten(1)
    covariance = torch.cov(whole)
    torch.testing.assert_close(covariance, torch.eye(len(covariance)), atol=0.05, rtol=0)
    assert batch.latents.shape[1] == len(covariance)


def test_captions_are_dropped_at_their_rate(cache):
    trainer = DiffusionTrainer(small_recipe(cache, caption_dropout=0.5), cpu())
    texts = []
    trainer._text = lambda captions: texts.extend(captions) or (torch.zeros(len(captions), 2, 16),)  # type: ignore[method-assign]
    trainer.objective.text_encoder = None
    for step, batch in enumerate(trainer.batches(1, 40), 1):
        trainer.step(step, batch)
    assert texts.count("") == pytest.approx(80, abs=25)


def test_a_frozen_text_encoder(cache, tmp_path, vae_folder):
    torch.manual_seed(0)
    T5EncoderModel(
        T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path / "t5")
    ByT5Tokenizer().save_pretrained(tmp_path / "t5")
    recipe = small_recipe(cache, text=TextConfig(encoder=str(tmp_path / "t5")), steps=2)
    last = train_diffusion(recipe, tmp_path / "run", cpu())
    assert not (last / "text_encoder").exists()
    clips = generate(assemble(last), ["anything"], (9, 32, 32), steps=1)
    assert clips.shape == (1, 3, 9, 32, 32)


def test_loss_that_is_not_finite_skips_the_step(cache):
    trainer = DiffusionTrainer(small_recipe(cache), cpu())
    before = [p.clone() for p in trainer.objective.parameters()]
    ((batch,),) = trainer.batches(1, 1)
    outcome = trainer.step(1, (dataclasses.replace(batch, latents=batch.latents * math.nan),))
    assert not outcome.updated
    assert math.isnan(outcome.metrics["grad_norm"])
    assert all(
        torch.equal(a, b) for a, b in zip(before, trainer.objective.parameters(), strict=True)
    )
    assert trainer.ema.optimization_step == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(steps=0), "steps must be positive"),
        (dict(optimizer="sgd"), "optimizer must be muon or adamw"),
        (dict(cooldown_steps=4), r"cooldown_steps must be less than steps \(4\)"),
        (dict(latents="nowhere"), "no finished cache of latents in nowhere"),
        (dict(map="nowhere"), "there is no map at nowhere"),
        (dict(model=TransformerConfig(patch_size=(1, 3, 3))), "does not divide the latents"),
        (dict(model=TransformerConfig(head_dim=7)), "head_dim must be even"),
        (dict(text=TextConfig(width=10, heads=4)), "multiple of text.heads"),
        (dict(caption_dropout=1.5), r"caption_dropout must be in \[0, 1\)"),
        (dict(shift=0.0), "shift must be positive"),
        (dict(normalization="white"), "normalization must be standardised, global"),
        (dict(normalization="whitened", map="a map"), "normalization is for runs without a map"),
    ],
)
def test_problems_are_named(cache, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train_diffusion(small_recipe(cache, **changes), tmp_path / "run", cpu())
    assert not (tmp_path / "run").exists()


def test_means_of_other_lengths_after_the_run(cache, tmp_path):
    recipe = small_recipe(cache, steps=6, snapshots_every=2, checkpoint_every=3)
    train_diffusion(recipe, tmp_path / "whole", cpu())
    for steps in (3, 6):
        train_diffusion(dataclasses.replace(recipe, steps=steps), tmp_path / "parts", cpu())
    for step, path in snapshots_of(tmp_path / "whole").items():
        assert path.read_bytes() == snapshots_of(tmp_path / "parts")[step].read_bytes()
    assert list(snapshots_of(tmp_path / "whole")) == [2, 4, 6]
    out = write_average(tmp_path / "whole", tmp_path / "mean", 0.1)
    clips = generate(assemble(out), ["a red disc"], (9, 32, 32), steps=2)
    assert clips.shape == (1, 3, 9, 32, 32)
    kept = load_file(snapshots_of(tmp_path / "whole")[6])
    made = load_file(out / "transformer" / "diffusion_pytorch_model.safetensors")
    for name, weight in made.items():
        torch.testing.assert_close(weight, kept[f"0.1.transformer.{name}"], atol=1e-5, rtol=1e-4)
    assert not (out / "optimizers.pt").exists()
    plain = small_recipe(cache, steps=2)
    train_diffusion(plain, tmp_path / "plain", cpu())
    later = dataclasses.replace(plain, steps=4, snapshots_every=2)
    with pytest.raises(ValueError, match="keeps no running means|snapshots_every"):
        train_diffusion(later, tmp_path / "plain", cpu())
