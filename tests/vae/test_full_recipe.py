"""The published recipe with everything it names, on tiny configs."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import tyro
from safetensors.torch import load_file

from made_videos import write
from small_models import NARROW, write_lpips
from small_runs import cpu, rows, small, step
from ssvae.data import World
from ssvae.data.video import probe, read_frames
from ssvae.losses import perceptual as lpips
from ssvae.models.finding import load_vae
from ssvae.recipes import RECIPES, ssvae_256p
from ssvae.regularizers import Draws, LCRConfig, LMRConfig
from ssvae.storage.runs import checkpoints
from ssvae.training import make_accelerator
from ssvae.training.step import update
from ssvae.training.tracking import Tracker
from ssvae.vae import (
    GANConfig,
    ImagesConfig,
    PerceptualConfig,
    ValidationConfig,
    parameters_of,
    problems_of,
    train_autoencoder,
)
from ssvae.vae.recipe import ClipConfig
from ssvae.vae.trainer import VAETrainer


@pytest.fixture(scope="module")
def perceptual(tmp_path_factory) -> Iterator[PerceptualConfig]:
    folder = tmp_path_factory.mktemp("lpips")
    with pytest.MonkeyPatch.context() as here:
        here.setattr(lpips, "STAGES", NARROW)
        yield PerceptualConfig(1.0, *write_lpips(folder))


def full(perceptual: PerceptualConfig, **changes):
    settings = dict(
        clip=ClipConfig(frames=9, height=24, width=24),
        perceptual=perceptual,
        learned_variance=True,
        gan=GANConfig(start=2, channels=4, halvings=3, lecam_weight=0.1, r1_weight=0.1),
        images=ImagesConfig(share=0.25, batch_size=3),
        accumulate=2,
        ema_decay=0.9,
        validation=ValidationConfig(every=2, clips=3, shown=2),
    )
    return small(**(settings | changes))


@pytest.fixture(scope="module")
def run(perceptual, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("full") / "run"
    train_autoencoder(full(perceptual), out, cpu(), tracker=Tracker())
    return out


def test_the_terms_add_up(perceptual):
    """One batch of clips a step, for means of products are no products of means."""
    trainer = VAETrainer(full(perceptual, accumulate=1, images=ImagesConfig()), cpu())
    for number, batch in enumerate(trainer.batches(1, 4), 1):
        row = step(trainer, number, batch)
        nll = (row["l1"] + row["lpips"]) * math.exp(-row["log_variance"]) + row["log_variance"]
        assert row["nll"] == pytest.approx(nll, rel=1e-5)
        loss = nll + 5e-4 * row["kl"] + row["lcr_weight"] * row["lcr"]
        if number > 2:
            loss += row["generator_weight"] * row["generator"]
            assert row["discriminator"] > 0
            assert row["r1"] > 0
        assert ("discriminator" in row) == (number > 2)
        assert row["loss"] == pytest.approx(loss, rel=1e-5)
    assert row["log_variance"] != 0


def test_resuming_is_exact_bit_for_bit_with_all_of_it(run, perceptual, tmp_path):
    class Killed(Exception):
        pass

    def kill_at_5(step, metrics):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        train_autoencoder(full(perceptual), tmp_path / "run", cpu(), kill_at_5)
    train_autoencoder(full(perceptual), tmp_path / "run", cpu())
    assert rows(tmp_path / "run") == rows(run)
    a, b = (p / "validation.jsonl" for p in (tmp_path / "run", run))
    assert a.read_text() == b.read_text()
    last = "checkpoints/step-00000006"
    names = {p.relative_to(run / last) for p in (run / last).rglob("*.*") if p.is_file()}
    assert {str(n) for n in names} >= {"ema.pt", "discriminator.safetensors", "optimizers.pt"}
    for name in names:
        assert (run / last / name).read_bytes() == (tmp_path / "run" / last / name).read_bytes()


def test_the_saved_model_is_the_running_mean(run, perceptual):
    last = run / "checkpoints" / "step-00000006"
    raw, mean = load_file(last / "model.safetensors"), load_vae(run).state_dict()
    trainer = VAETrainer(full(perceptual), cpu())
    trainer.load(last)
    assert trainer.ema is not None
    kept = zip(load_vae(run).named_parameters(), trainer.ema.shadow_params, strict=True)
    for (name, value), shadow in kept:
        assert torch.equal(value, shadow), name
    assert any(not torch.equal(raw[f"vae.{k}"], value) for k, value in mean.items())


def test_validation_is_written_shown_and_tracked(run):
    figures = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in figures] == [2, 4, 6]
    assert set(figures[0]) == {
        *("step", "psnr", "ssim", "local_correlation", "low_share", "high_share", "slope"),
        *("effective_rank", "modes_90"),
    }
    film = run / "samples" / "step-00000006.mp4"
    info = probe(film)
    assert (info.width, info.height, info.frames) == (48, 48, 9), "two clips above their copies"
    shown = next(iter(read_frames(film))).image
    first = World(9, 24, 24, seed=1).batch([0]).video[0, :, 0]
    upper_left = torch.from_numpy(shown[:24, :24].copy()).permute(2, 0, 1) / 127.5 - 1
    assert float((upper_left - first).abs().mean()) < 0.1

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert events.Scalars("validation/psnr")[-1].value == pytest.approx(figures[-1]["psnr"])
    pictures = events.Images("reconstructions")
    assert [p.step for p in pictures] == [2, 4, 6]
    assert pictures[0].encoded_image_string.startswith(b"GIF89a")


def test_validation_uses_the_running_mean(perceptual, tmp_path):
    trainer = VAETrainer(full(perceptual, gan=GANConfig()), cpu())
    before = [p.clone() for p in trainer.backbone.vae.parameters()]
    assert trainer.ema is not None
    names = [name for name, _ in trainer.backbone.vae.named_parameters()]
    for name, shadow in zip(names, trainer.ema.shadow_params, strict=True):
        if name.startswith("decoder.conv_out"):
            shadow.zero_()
    figures = trainer.validate(2, tmp_path)
    assert figures["psnr"] == pytest.approx(_psnr_of_grey(), abs=1e-3)
    for a, b in zip(before, trainer.backbone.vae.parameters(), strict=True):
        assert torch.equal(a, b)


def _psnr_of_grey() -> float:
    """A last layer of zeros decodes to grey."""
    clips = World(9, 24, 24, seed=1).batch(range(3)).video
    errors = ((clips / 2).square()).flatten(1).mean(1)
    return float((-10 * torch.log10(errors)).mean())


def test_an_encoder_that_is_frozen_gets_no_backward_pass(run, perceptual):
    recipe = full(
        perceptual,
        init=str(run),
        freeze_encoder=True,
        lcr=LCRConfig(),
        lmr=LMRConfig(enabled=True, ratios=(0.0, 0.5), probabilities=(0.5, 0.5), block=(2, 2, 2)),
    )
    trainer = VAETrainer(recipe, cpu())
    ran = []
    for module in trainer.backbone.vae.encoder.modules():
        if not list(module.children()):
            module.register_full_backward_hook(lambda *_: ran.append("encoder"))
    trainer.backbone.vae.decoder.conv_in.register_full_backward_hook(
        lambda *_: ran.append("decoder")
    )
    step(trainer, 3, next(trainer.batches(3, 3)))
    assert set(ran) == {"decoder"}


def test_the_gan_weight_is_that_of_two_passes(perceptual):
    """|grad of nll| / (|grad of the generator's loss| + 1e-4) at the decoder's last layer."""
    recipe = full(
        perceptual, accumulate=1, gan=GANConfig(start=0, channels=4, halvings=3, max_weight=1e9)
    )
    trainer = VAETrainer(recipe, cpu())
    assert trainer.adversary is not None
    objective, judge = trainer.objective, trainer.adversary.discriminator.eval()
    clips = World(9, 24, 24).batch(range(2)).video
    outcome = objective(clips, draws(), None, judge)
    outcome.loss.backward()
    weighed = outcome.balances["generator"].weight()
    weight = objective.vae.decoder.conv_out.weight
    balanced = weight.grad.clone()
    objective.zero_grad()

    from ssvae.losses import generator_loss

    norms, gradients = [], []
    for kind in ("nll", "generator"):
        plain = objective(clips, draws())
        made = _decoded_again(objective, clips)
        value = plain.terms["nll"] if kind == "nll" else generator_loss(judge(made))
        (gradient,) = torch.autograd.grad(value, weight)
        norms.append(gradient.norm())
        gradients.append(gradient)
    expected = norms[0] / (norms[1] + 1e-4)
    torch.testing.assert_close(weighed, expected, rtol=1e-4, atol=0)
    together = gradients[0] + expected * gradients[1]
    torch.testing.assert_close(balanced, together, rtol=1e-3, atol=1e-6)


def draws() -> Draws:
    return Draws(torch.Generator().manual_seed(0))


def _decoded_again(objective, clips: torch.Tensor) -> torch.Tensor:
    """The reconstruction of the same draw, with its graph."""
    kept = []
    hook = objective.vae.decoder.register_forward_hook(lambda *x: kept.append(x[-1][0]))
    objective(clips, draws())
    hook.remove()
    return kept[0]


def test_every_recipe_builds(run):
    given = {"init": str(run), "model": str(run), "teacher": str(run), "data": "world"}
    for name, make in RECIPES.items():
        recipe = make()
        missing = {
            f.name: given[f.name]
            for f in dataclasses.fields(recipe)
            if getattr(recipe, f.name) is tyro.MISSING
        }
        recipe = dataclasses.replace(recipe, **missing)
        assert problems_of(recipe) == [], name
        assert parameters_of(recipe) > 1000
        assert make.__doc__


def test_the_published_schedule():
    recipe = dataclasses.replace(ssvae_256p(), data="world")
    assert recipe.learning_rate_at(1000) == pytest.approx(5e-5)
    assert recipe.learning_rate_at(150_000) == pytest.approx(4.3e-5, rel=0.01)
    assert recipe.learning_rate_at(600_000) == pytest.approx(2e-6)
    assert recipe.gan.learning_rate == recipe.learning_rate / 10


def test_several_equal_batches_are_one(perceptual):
    """Whether a gradient is made of one batch or of four: the same weights, loss and norm."""
    clips = World(9, 24, 24).batch(range(2))
    found = []
    for count in (1, 4):
        quiet = dict(lmr=LMRConfig(), gan=GANConfig(0, channels=4, halvings=3))
        trainer = VAETrainer(full(perceptual, images=ImagesConfig(), **quiet), cpu())
        trainer.backbone.vae.encoder.conv_out.bias.data[4:] = -30.0  # no noise
        row = step(trainer, 1, (clips,) * count)
        found.append(row)
    one, four = found
    assert {"lcr_weight", "generator_weight", "grad_norm", "discriminator"} <= set(one)
    # Scores move a little: spectral normalisation takes a step with each batch.
    assert four == pytest.approx(one, rel=5e-2, abs=1e-6)


def test_discriminators_skip_what_is_not_finite(perceptual):
    """Also where it comes after batches that were finite, and LeCam's means stay."""
    trainer = VAETrainer(full(perceptual), cpu())
    assert trainer.adversary is not None
    adversary = trainer.adversary
    clips = World(9, 24, 24).batch(range(2)).video
    before = [p.detach().clone() for p in adversary.discriminator.parameters()]
    adversary.learn(clips, clips * 0.5, last=False)
    adversary.learn(clips, clips * float("nan"), last=True)
    assert update(cpu(), [adversary.part(1.0)], scale=0.5).updated == [False]
    for a, b in zip(before, adversary.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.isfinite(adversary.lecam.means).all()
    adversary.learn(clips, clips * 0.5, last=True)
    assert update(cpu(), [adversary.part(1.0)]).updated == [True]
    assert any(
        not torch.equal(a, b)
        for a, b in zip(before, adversary.discriminator.parameters(), strict=True)
    )


def test_images_alone(tmp_path):
    recipe = small(
        clip=ClipConfig(frames=1, height=16, width=16),
        steps=2,
        validation=ValidationConfig(2, clips=2),
    )
    train_autoencoder(recipe, tmp_path / "run", cpu())
    assert len(rows(tmp_path / "run")) == 2
    assert (tmp_path / "run" / "samples" / "step-00000002.mp4").exists()


def test_bfloat16(perceptual, fresh_process):
    gan = GANConfig(start=1, channels=4, halvings=3, lecam_weight=0.1, r1_weight=0.1)
    trainer = VAETrainer(full(perceptual, gan=gan), make_accelerator("cpu", "bfloat16"))
    found = [step(trainer, s, b) for s, b in enumerate(trainer.batches(1, 2), 1)]
    assert all(abs(v) < 1e6 for row in found for v in row.values())
    assert all(row["lcr_weight"] > 0 for row in found)
    assert found[1]["generator_weight"] > 0
    trained = [p for p in trainer.objective.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}


def test_training_on_shards_of_clips_and_images(tmp_path):
    from ssvae.data.listing import find_media
    from ssvae.data.shard_writer import copy_file, write_shards

    (tmp_path / "media").mkdir()
    for i in range(3):
        write(tmp_path / "media" / f"{i}.mp4", 12)
    write_shards(find_media(tmp_path / "media"), copy_file, tmp_path / "shards", 2)
    name = f"{tmp_path / 'shards'}/{{000000..000001}}.tar:3,world:1"
    recipe = small(steps=4, data=name, images=ImagesConfig(share=0.5, batch_size=2), workers=2)
    train_autoencoder(recipe, tmp_path / "run", cpu())
    threads = dataclasses.replace(recipe, workers=1, steps=4)
    train_autoencoder(threads, tmp_path / "again", cpu())
    assert rows(tmp_path / "run") == rows(tmp_path / "again"), "whatever the number of threads"
    assert [s for s, _ in checkpoints(tmp_path / "run")] == [2, 4]
