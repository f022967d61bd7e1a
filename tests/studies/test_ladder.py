import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from micro import micro
from ssvae.data.world import DETAIL, World
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone
from studies.diffusability.ladder.arms import HURT, Arm, arms
from studies.diffusability.ladder.detail import kept_detail, octaves
from studies.diffusability.ladder.engine import LadderOptions, run_arms
from studies.diffusability.ladder.rungs import SIDES, rung


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
