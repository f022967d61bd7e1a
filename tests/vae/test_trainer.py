import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from made_videos import write
from small_runs import cpu, rows, small, step
from ssvae.data import Batch, World
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.finding import find_vae, load_vae, resolve_vae
from ssvae.recipes import tiny, without_regularizers
from ssvae.regularizers import LCRConfig, LMRConfig
from ssvae.storage.runs import checkpoints
from ssvae.training import checkpoint
from ssvae.training.loop import PATIENCE
from ssvae.vae import problems_of, train_autoencoder
from ssvae.vae.recipe import ClipConfig
from ssvae.vae.trainer import VAETrainer


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """An unbroken run of six steps."""
    out = tmp_path_factory.mktemp("run") / "out"
    train_autoencoder(small(), out, cpu())
    return out


def test_the_run_folder(run):
    assert [r["step"] for r in rows(run)] == [1, 2, 3, 4, 5, 6]
    for row in rows(run):
        assert row["loss"] == pytest.approx(
            row["l1"] + 5e-4 * row["kl"] + row["lcr_weight"] * row["lcr"], rel=1e-5
        )
        assert row["lcr"] == pytest.approx(max(0, 0.75 - row["local_correlation"]), abs=1e-6)
    assert [number for number, _ in checkpoints(run)] == [4, 6]
    assert json.loads((run / "config.json").read_text())["lcr"]["weight"] == 0.1
    assert isinstance(load_vae(run), AutoencoderKLSSVAE)
    assert not load_vae(run).training


def test_resuming_is_exact_bit_for_bit(run, tmp_path):
    class Killed(Exception):
        pass

    def kill_at_5(step, metrics):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        train_autoencoder(small(), tmp_path / "run", cpu(), kill_at_5)
    assert [r["step"] for r in rows(tmp_path / "run")] == [1, 2, 3, 4, 5]
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')  # the line that the kill cut off
    (tmp_path / "run" / "checkpoints" / ".partial-5").mkdir()
    train_autoencoder(small(), tmp_path / "run", cpu())
    assert rows(tmp_path / "run") == rows(run)
    for file in ("vae/diffusion_pytorch_model.safetensors", "masking.safetensors"):
        a, b = (p / "checkpoints" / "step-00000006" / file for p in (run, tmp_path / "run"))
        assert a.read_bytes() == b.read_bytes()
    assert not list((tmp_path / "run" / "checkpoints").glob(".partial*"))


def test_batches_have_several_sizes_in_turn(tmp_path):
    clip = dataclasses.replace(small().clip, multiples=(1, 2))
    recipe = small(clip=clip, steps=4)
    sides = [part.video.shape[-1] for (part,) in VAETrainer(recipe, cpu()).batches(1, 4)]
    assert sides == [clip.width, 2 * clip.width] * 2
    # From the middle on they are those that an unbroken run sees.
    (third,) = next(VAETrainer(recipe, cpu()).batches(3, 4))
    assert third.video.shape[-1] == clip.width
    train_autoencoder(recipe, tmp_path / "run", cpu())
    assert all(math.isfinite(row["loss"]) for row in rows(tmp_path / "run"))
    wrong = dataclasses.replace(recipe, clip=dataclasses.replace(clip, multiples=(0,)))
    assert any("clip.multiples must be" in problem for problem in problems_of(wrong))


def test_a_finished_run_says_so_and_goes_on_for_more(run, tmp_path, caplog):
    out = tmp_path / "run"
    train_autoencoder(small(), out, cpu())
    before = rows(out)
    with caplog.at_level("INFO", logger="ssvae"):
        train_autoencoder(small(), out, cpu())
    assert "finished at step 6" in caplog.text
    assert rows(out) == before
    train_autoencoder(small(steps=8), out, cpu())
    assert rows(out)[:6] == before
    assert [r["step"] for r in rows(out)] == list(range(1, 9))
    assert [r["learning_rate"] for r in rows(out)[5:]] == [small().final_learning_rate] * 3
    with pytest.raises(ValueError, match="at step 8 already, got steps 7"):
        train_autoencoder(small(steps=7), out, cpu())


def test_other_settings_are_an_error(run, tmp_path):
    changed = small(learning_rate=1e-2, lcr=LCRConfig(enabled=True, weight=0.3))
    with pytest.raises(ValueError, match=r"lcr.weight was 0.1 and is 0.3, learning_rate was"):
        train_autoencoder(changed, run, cpu())
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is no run: choose an empty folder"):
        train_autoencoder(small(), tmp_path, cpu())


def test_what_decides_a_batch_is_a_setting_too(run, tmp_path):
    def goes_on(**around) -> None:
        shutil.copytree(run, tmp_path / "run", dirs_exist_ok=True)
        path = tmp_path / "run" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | around))
        train_autoencoder(small(), tmp_path / "run", cpu())

    assert json.loads((run / "config.json").read_text())["processes"] == 1
    with pytest.raises(ValueError, match="dtype was bfloat16 and is float32"):
        goes_on(dtype="bfloat16")
    with pytest.raises(ValueError, match="processes was 2 and is 1"):
        goes_on(processes=2)
    goes_on(processes=2, batch_size=1, images=dict(share=0.0, batch_size=8))  # as many clips a step


def test_all_problems_at_once():
    recipe = small(
        steps=0, kl_weight=-1.0, lmr=LMRConfig(enabled=True, ratios=(2.0,), probabilities=(1.0,))
    )
    with pytest.raises(ValueError, match=r"steps must be .*kl_weight must .*ratios must be"):
        train_autoencoder(recipe, "unused", cpu())
    assert not Path("unused").exists()
    for clip, message in [
        (ClipConfig(8, 16, 16), "4n \\+ 1"),
        (ClipConfig(9, 18, 16), "multiples"),
        (ClipConfig(5, 16, 16), "window"),
    ]:
        with pytest.raises(ValueError, match=message):
            train_autoencoder(dataclasses.replace(small(), clip=clip), "unused", cpu())
    assert "threshold is a correlation" in " ".join(
        problems_of(small(lcr=LCRConfig(enabled=True, threshold=5.0)))
    )


def test_variants_start_from_the_same_weights_and_see_the_same_clips(tmp_path):
    ours, baseline = small(steps=1), without_regularizers(small(steps=1))
    a, b = (VAETrainer(recipe, cpu()).objective.vae for recipe in (ours, baseline))
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y)
    train_autoencoder(baseline, tmp_path / "run", cpu())
    row = rows(tmp_path / "run")[0]
    assert "lcr" not in row
    assert "local_correlation" in row


def test_training_learns():
    clips = World(9, 16, 16).batch(range(4))
    trainer = VAETrainer(small(lmr=LMRConfig(), learning_rate=3e-3), cpu())
    errors = [step(trainer, number, (clips,))["l1"] for number in range(1, 61)]
    assert errors[-1] < 0.7 * errors[0]


def test_lcr_raises_local_correlation():
    """On one batch, with nothing but the penalty's weight between them."""
    clips = World(9, 16, 16).batch(range(4))
    ends = []
    for enabled in (False, True):
        lcr = LCRConfig(enabled=enabled, weight=1.0, threshold=1.0)
        recipe = small(lcr=lcr, lmr=LMRConfig(), learning_rate=3e-3)
        trainer = VAETrainer(recipe, cpu())
        ends.append([step(trainer, s, (clips,)) for s in range(1, 31)][-1]["local_correlation"])
    assert ends[1] > ends[0] + 0.05


def test_start_from_a_trained_model(run, tmp_path):
    trainer = VAETrainer(small(init=str(run)), cpu())
    for a, b in zip(trainer.objective.vae.parameters(), load_vae(run).parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="another shape .z_dim is 4 there and 16 here"):
        VAETrainer(dataclasses.replace(tiny(), init=str(run)), cpu())
    with pytest.raises(ValueError, match="no model at"):
        train_autoencoder(small(init="nowhere"), tmp_path / "run", cpu())


def test_train_on_videos(tmp_path):
    (tmp_path / "videos").mkdir()
    write(tmp_path / "videos" / "a.mp4", 20)
    train_autoencoder(small(steps=2, data=str(tmp_path / "videos")), tmp_path / "run", cpu())
    assert len(rows(tmp_path / "run")) == 2


def test_steps_that_are_not_finite_are_skipped_then_end_the_run(tmp_path, caplog, monkeypatch):
    trainer = VAETrainer(small(), cpu())
    before = [p.clone() for p in trainer.objective.parameters()]
    video = World(9, 16, 16).batch(range(2)).video.clone()
    video[0, 0, 0, 0, 0] = math.inf
    metrics = step(trainer, 1, (Batch(video, ["", ""]),))
    assert not math.isfinite(metrics["grad_norm"])
    for a, b in zip(before, trainer.objective.parameters(), strict=True):
        assert torch.equal(a, b)

    # A model whose weights break after the fourth step.
    plain = VAETrainer.step

    def break_at_5(self, number, batch, signal):
        if number == 5:
            self.objective.vae.decoder.conv_out.weight.data.fill_(math.nan)
        return plain(self, number, batch, signal)

    monkeypatch.setattr(VAETrainer, "step", break_at_5)
    with pytest.raises(ValueError, match=rf"{PATIENCE} steps in a row, up to step 14.*00000004"):
        train_autoencoder(small(steps=40), tmp_path / "run", cpu())
    assert rows(tmp_path / "run")[-1]["loss"] is None
    assert [s for s, _ in checkpoints(tmp_path / "run")] == [2, 4]


def test_where_a_vae_is(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert resolve_vae(run.name) == str(find_vae(run).resolve())
    assert resolve_vae("owner/name/vae") == "owner/name/vae"  # on the hub
    with pytest.raises(ValueError, match=f"no model at {run.name}/chekpoints"):
        resolve_vae(f"{run.name}/chekpoints/last")


def test_a_checkpoint_is_whole_or_absent(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        checkpoint.save(tmp_path, 1, fail)
    assert checkpoints(tmp_path) == []
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_models_that_do_not_load(tmp_path, vae):
    with pytest.raises(ValueError, match="holds config.json and weights"):
        load_vae(tmp_path)
    vae.save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="does not load"):
        load_vae(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKLWan"}')
    with pytest.raises(ValueError, match="of AutoencoderKLWan"):
        load_vae(tmp_path)


def test_schedule():
    recipe = small(steps=100, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [recipe.learning_rate_at(s) for s in range(1, 101)]
    assert rates[9] == 1.0
    assert rates[4] == pytest.approx(0.55)
    assert rates[54] == pytest.approx(0.55)
    assert rates[99] == pytest.approx(0.1)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.1


def test_a_frozen_encoder_stays_and_the_decoder_learns(run, tmp_path):
    recipe = without_regularizers(small(init=str(run), freeze_encoder=True, steps=2))
    last = train_autoencoder(recipe, tmp_path / "second", cpu())
    before, after = load_vae(run).state_dict(), load_vae(last).state_dict()
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith("encoder."), name
    assert [r["step"] for r in rows(tmp_path / "second")] == [1, 2]


def test_a_frozen_encoder_needs_a_model_and_no_lcr(run):
    assert "give init, a trained model" in " ".join(problems_of(small(freeze_encoder=True)))
    assert "turn lcr.enabled off" in " ".join(
        problems_of(small(freeze_encoder=True, init=str(run)))
    )
