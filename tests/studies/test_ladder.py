import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn

from micro import micro
from ssvae.bench.scoring import Sampling
from ssvae.data.world import DETAIL, VOCABULARY, World
from ssvae.diffusion.pipeline import checkpoint_of
from ssvae.evaluation.probe import load_probe
from ssvae.latents.cache import LatentCache
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.finding import find_vae, load_vae
from ssvae.models.fingerprint import latents_fingerprint
from ssvae.vae import problems_of
from studies.diffusability.ladder import curves
from studies.diffusability.ladder.arms import (
    ATTRIBUTES,
    HURT,
    LMR_LEARNED,
    LONGER_DECODER,
    NOISY,
    PLAIN_DIT,
    RATES,
    RESCORED,
    RIVALS,
    RIVALS_PART,
    STILLS,
    TWO_SIZES,
    Arm,
    arms,
)
from studies.diffusability.ladder.detail import kept_detail, octaves
from studies.diffusability.ladder.engine import run_arms
from studies.diffusability.ladder.options import LadderOptions, probe_of
from studies.diffusability.ladder.rows import read
from studies.diffusability.ladder.rungs import DATA, SIDES, rung
from studies.diffusability.ladder.told import Regime, sample
from studies.diffusability.ladder.told_models import PlainDiT, ToldTransformer


def test_rungs_have_latents_of_one_shape_and_a_level_more_each():
    levels = []
    for side in SIDES:
        scale = rung(side)
        backbone = Backbone(AutoencoderKLSSVAE(**vars(scale.vae.model)))
        assert backbone.latent_shape(*scale.size) == (48, 3, 8, 8)
        assert scale.decoder.model == scale.vae.model
        levels.append(len(scale.vae.model.channel_multipliers))
    assert levels == [3, 4, 5]
    with pytest.raises(ValueError, match="32, 64, 128"):
        rung(48)


def test_arms_are_the_plan_s_and_those_that_are_asked_for():
    everything = arms()
    assert len({(a.part, a.label, a.setting) for a in everything}) == len(everything)
    first = everything[:6]
    assert [(a.rung, a.variant, a.seed) for a in first] == [
        (side, variant, 11) for side in SIDES for variant in ("baseline", "lcr")
    ]
    (asked,) = arms(part=1, side=128, seeds=(77,), variants=("lcr",))
    assert (asked.rung, asked.seed, asked.vae.lcr.weight) == (128, 77, 0.1)
    assert not asked.vae.lmr.enabled
    of_baseline, under_map = (
        Arm(1, 64, "baseline", 11),
        Arm(9, 64, HURT, 11),
    )
    assert of_baseline.latents == under_map.latents
    assert of_baseline.label != under_map.label


def test_rivals_run_where_they_are_asked_to():
    found = arms(part=RIVALS_PART, side=64, seeds=(11,))
    assert [arm.variant for arm in found] == list(RIVALS)
    for arm in found:
        assert arm.latents != Arm(1, 64, "baseline", 11).latents
        assert problems_of(arm.vae) == []
    assert len({repr(arm.vae) for arm in found}) == len(RIVALS)
    assert all(arm.part != RIVALS_PART for arm in arms())
    with pytest.raises(ValueError, match="give --rung"):
        arms(part=RIVALS_PART)


def test_what_is_kept_of_the_detail_is_told_octave_by_octave():
    """An autoencoder that halves one octave and leaves out the other, by a mean of 2x2 pixels."""

    class Halving:
        @staticmethod
        def encode(clips):
            return SimpleNamespace(mean=clips)

        @staticmethod
        def decode(z):
            return 0.5 * z

    shares = kept_detail(Halving(), 64, clips=16)  # type: ignore[arg-type]
    assert list(shares) == ["8", "16"]
    assert [round(share, 1) for share in shares.values()] == [0.5, 0.5]
    assert octaves(128) == [8, 16, 32]


def test_the_detail_grows_with_the_clips_and_is_no_part_of_the_plain_world():
    plain, detailed = World(9, 64, 64, 3), World(9, 64, 64, 3, detail=DETAIL)
    a, b = plain.batch(range(4)), detailed.batch(range(4))
    assert a.captions == b.captions
    assert 0.02 < (b.video - a.video).std() < 0.2
    # The same scene at half the size is what is left when the larger is averaged down.
    small = World(9, 32, 32, 3, detail=DETAIL).batch(range(4)).video
    down = torch.nn.functional.avg_pool3d(b.video, (1, 2, 2))
    correlation = torch.corrcoef(torch.stack([small.flatten(), down.flatten()]))[0, 1]
    assert correlation > 0.98


@dataclass(frozen=True)
class SmallArm(Arm):
    @property
    def scale(self):
        return micro(super().scale, evaluations=(2, 3))


def test_arms_give_rows_once_and_go_on_where_they_were_stopped(tmp_path):
    options = LadderOptions(tmp_path, tmp_path / "work", (), "cpu", rows=tmp_path / "rows.jsonl")
    chosen = [SmallArm(1, 32, "baseline", 0), SmallArm(9, 32, HURT, 0)]
    run_arms(chosen[:1], options)
    first = options.rows.read_text()
    run_arms(chosen, options)
    assert options.rows.read_text().startswith(first)
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    assert [(r["kind"], r["variant"], r.get("step")) for r in rows] == [
        ("vae", "baseline", None),
        ("diffusion", "baseline", 2),
        ("diffusion", "baseline", 3),
        ("diffusion", HURT, 2),
        ("diffusion", HURT, 3),
    ]
    assert rows[0]["kept_detail"].keys() == {"8"}
    assert all(row["scores"]["kernel"] is not None for row in rows[1:])
    assert {"processor", "threads", "commit", "dtype"} <= rows[0].keys()


def test_a_model_is_scored_again_by_other_samplings(tmp_path):
    options = LadderOptions(tmp_path, tmp_path / "work", (), "cpu", rows=tmp_path / "rows.jsonl")
    run_arms([SmallArm(1, 32, "baseline", 0), SmallArm(10, 32, "baseline", 0, RESCORED)], options)
    rows = [row for row in read(options.rows) if row["kind"] == "diffusion"]
    first, again = rows[:2], rows[2:]
    assert [(row["sampling_steps"], row["guidance"]) for row in again] == [
        (steps, guidance) for steps in (6, 16, 50) for guidance in (1, 2, 4)
    ]
    assert all(row["step"] == 3 for row in again)
    # Part 1 samples in two steps here; a model that was not kept as it was would score otherwise.
    sampling = Sampling(samples=8, steps=2)
    scale = dataclasses.replace(SmallArm(1, 32, "baseline", 0).scale, evaluation=sampling)
    backbone = load_backbone(LatentCache(options.work / "latents/32-baseline-0").vae)
    checkpoint = checkpoint_of(options.work / "diffusion/32-baseline-0")
    scorer = options.scorer(scale)
    reward = scorer.score(scorer.sample(checkpoint, backbone))["reward"]
    assert reward == pytest.approx(first[-1]["scores"]["reward"])


def test_samples_are_decoded_under_noise(tmp_path):
    options = LadderOptions(tmp_path, tmp_path / "work", (), "cpu", rows=tmp_path / "rows.jsonl")
    run_arms([SmallArm(8, 32, "lmr", 0, LMR_LEARNED)], options)
    of_vae, *rows = read(options.rows)
    assert {"viv_rho", "tfvd_frechet", "srss"} <= of_vae["predictors"]["figures"].keys()
    assert [(row["step"], row.get("latent_noise")) for row in rows] == [
        *((2, None), (3, None), (3, 0.1), (3, 0.2), (3, 0.4))
    ]
    rewards = [row["scores"]["reward"] for row in rows]
    assert len(set(rewards)) == len(rewards)


def test_stills_are_scored_by_their_own_probe():
    arm = Arm(7, 64, "lcr", 11, STILLS)
    assert (arm.scale.data, arm.scale.size, arm.latents) == (
        *("stills", (9, 64, 64), "64-stills-lcr-11"),
    )
    probes = [load_probe(probe_of(data), data=data).vocabulary.source for data in ("stills", DATA)]
    assert probes == ["stills", "the procedural world"]


@pytest.mark.slow
def test_a_model_goes_on_to_larger_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "LARGER_STEPS", (1, 2))
    options = LadderOptions(tmp_path, tmp_path / "work", (), "cpu", rows=tmp_path / "rows.jsonl")
    arm = SmallArm(2, 32, "baseline", 0, TWO_SIZES)
    run_arms([arm], options)
    rows = [row for row in read(options.rows) if row["kind"] == "diffusion"]
    assert [(row["resolution"], row["step"]) for row in rows] == [
        *((32, 2), (32, 3)),
        *((64, 3), (64, 4), (64, 5)),
    ]
    assert rows[0]["ceiling"] != rows[2]["ceiling"] == rows[3]["ceiling"]
    assert rows[1]["scores"] != rows[2]["scores"] != rows[3]["scores"]
    (folder,) = (options.work / "latents").glob("*-64")
    assert LatentCache(folder).shape[1:] == (3, 16, 16)


def test_a_decoder_is_trained_on_with_noise_and_the_latents_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "DECODER_STEPS", 2)
    options = LadderOptions(tmp_path, tmp_path / "work", (), "cpu", rows=tmp_path / "rows.jsonl")
    noisy, longer = (SmallArm(5, 32, "baseline", 0, name) for name in (NOISY, LONGER_DECODER))
    run_arms([noisy, longer], options)
    rows = {row["setting"]: row for row in read(options.rows) if row["kind"] == "diffusion"}
    assert rows[NOISY]["psnr"] != rows[LONGER_DECODER]["psnr"]
    assert len(rows[NOISY]["robustness"]) == 5
    first, *others = (
        load_vae(str(find_vae(options.work / "vae" / label)))
        for label in (noisy.latents, noisy.label, longer.label)
    )
    assert {latents_fingerprint(vae) for vae in others} == {latents_fingerprint(first)}
    decoders = [next(vae.decoder.parameters()) for vae in (first, *others)]
    assert not any(torch.equal(decoders[0], decoder) for decoder in decoders[1:])


@dataclass(frozen=True)
class ShortArm(Arm):
    @property
    def scale(self):
        return micro(super().scale, evaluations=(2,))


def test_models_that_are_told_attributes_learn_on_the_same_latents(tmp_path, monkeypatch):
    options = LadderOptions(tmp_path, tmp_path / "work", (), "cpu", rows=tmp_path / "rows.jsonl")
    for name in list(RATES)[2:]:
        monkeypatch.delitem(RATES, name)
    small = partial(PlainDiT, width=24, layers=1, heads=2)
    monkeypatch.setattr(curves, "PlainDiT", small)
    told = SmallArm(10, 32, "baseline", 0, ATTRIBUTES)
    tries = [ShortArm(10, 32, "baseline", 10, name) for name in RATES]
    plain = ShortArm(10, 32, "baseline", 0, PLAIN_DIT)
    with pytest.raises(ValueError, match=r"0.0005.* have not been tried for baseline"):
        run_arms([plain], options)
    run_arms([told, *tries, plain], options)
    rows = [row for row in read(options.rows) if row["kind"] == "diffusion"]
    assert [(r["setting"], r["step"]) for r in rows[:2]] == [(ATTRIBUTES, 2), (ATTRIBUTES, 3)]
    rewards = {row["learning_rate"]: row["scores"]["reward"] for row in rows if row["seed"] == 10}
    assert set(rewards) == set(RATES.values())
    best = max(rewards.values())
    assert rewards[rows[-1]["learning_rate"]] == best
    assert rows[-1]["setting"] == PLAIN_DIT


def test_sampling_follows_a_velocity_to_the_data_and_guidance_leaves_what_is_free():
    told, free = torch.ones(2, 2, 2, 2), torch.zeros(2, 2, 2, 2)
    asked = torch.tensor([[1, 2], [3, 4]])

    def model(x, t, attributes):
        data = torch.stack([told if row.any() else free for row in attributes])
        return (x - data) / t.view(-1, 1, 1, 1, 1)

    for guidance in (1.0, 2.0):
        regime = Regime((), 0.9, FlowMatchEulerDiscreteScheduler, 4, guidance)
        found = sample(model, asked, told.shape, regime)  # type: ignore[arg-type]
        torch.testing.assert_close(found, guidance * torch.stack([told, told]))


def test_a_told_transformer_hears_attributes_through_the_time_embedding_alone():
    torch.manual_seed(0)
    scale = micro()
    model = ToldTransformer(scale.diffusion, 4, VOCABULARY).eval()
    nn.init.normal_(model.transformer.proj_out.weight)
    texts = []
    for block in model.transformer.blocks:
        block.attn2.register_forward_pre_hook(
            lambda module, inputs: texts.append(inputs[1]),
        )
    x, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([0.3, 0.7])
    one, two = (
        torch.tensor([[1, 1, 1, 1], [2, 2, 2, 2]]),
        torch.tensor([[1, 1, 1, 2], [2, 2, 2, 2]]),
    )
    a, b = model(x, t, one), model(x, t, two)
    assert not torch.equal(a[0], b[0])
    torch.testing.assert_close(a[1], b[1])
    assert texts
    assert not any(text.any() for text in texts)


def test_the_plain_dit_has_the_plan_s_size_and_begins_with_nothing():
    model = PlainDiT((48, 3, 8, 8), VOCABULARY)
    assert 1.8e6 < sum(p.numel() for p in model.parameters()) < 2.0e6
    x = torch.randn(2, 48, 3, 8, 8)
    velocity = model(x, torch.tensor([0.1, 0.9]), torch.ones(2, 4, dtype=torch.int64))
    assert velocity.shape == x.shape
    assert not velocity.any()
