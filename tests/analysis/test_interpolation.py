import dataclasses
import math

import pytest
import torch

from ssvae.analysis import Analyzer, Subject, analyze, measure_drift
from ssvae.analysis.interpolation import between_in_time, half_way_to_nearest
from ssvae.analysis.predictors import PREDICTORS, Evidence, measure_predictors
from ssvae.analysis.semantics import labels_of
from ssvae.data import open_source
from ssvae.data.world import VOCABULARY
from ssvae.evaluation.features import load_network
from ssvae.models.backbones import Backbone
from ssvae.statistics import feature_statistics, frechet_distance


def test_frames_between_their_neighbours():
    z = torch.tensor([0.0, 1.0, 4.0, 9.0, 16.0]).view(1, 1, 5, 1, 1)
    assert between_in_time(z, lone_first_frame=False).flatten().tolist() == [0, 2, 5, 10, 16]
    # The first frame is of another kind, and no neighbour.
    assert between_in_time(z, lone_first_frame=True).flatten().tolist() == [0, 1, 5, 10, 16]
    assert between_in_time(z[:, :, :3], lone_first_frame=True).flatten().tolist() == [0, 2, 4]
    with pytest.raises(ValueError, match="at least 3 frames, got 2"):
        between_in_time(z[:, :, :2], lone_first_frame=False)


def test_half_way_on_the_arc():
    angles = torch.tensor([0.0, 0.4, 2.0, 2.9], dtype=torch.float64)
    z = 3 * torch.stack([angles.cos(), angles.sin()], 1).view(4, 2, 1, 1, 1)
    found = half_way_to_nearest(z).flatten(1)
    halves = torch.tensor([0.2, 0.2, 2.45, 2.45], dtype=torch.float64)
    torch.testing.assert_close(found, 3 * torch.stack([halves.cos(), halves.sin()], 1))
    with pytest.raises(ValueError, match="at least two clips, got 1"):
        half_way_to_nearest(z[:1])


class Ramp:
    """Films whose brightness is their latents, eight frames for a frame of latents but the first."""

    def encode(self, clips: torch.Tensor) -> torch.Tensor:
        seen = clips[:, :2, ::4, ::8, ::8]
        return seen + 0.0

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        frames = torch.nn.functional.interpolate(z, (9, 32, 32), mode="trilinear")
        return torch.cat([frames, frames[:, :1]], 1)


def films(count: int, curved: bool) -> torch.Tensor:
    torch.manual_seed(0)
    t = torch.linspace(-1, 1, 9).view(9, 1, 1)
    path = (2 * t.square() - 1) if curved else t
    return (0.8 * torch.rand(count, 3, 1, 1, 1) * path).expand(count, 3, 9, 32, 32).contiguous()


def test_straight_films_are_near_their_interpolations():
    ramp, network = Ramp(), load_network("probe")
    subject = Subject("Ramp", None, ramp.encode, ramp.decode, lone_first_frame=False)
    distances = {}
    for curved in (False, True):
        clips, analyzer = films(12, curved), Analyzer()
        for batch in clips.split(5):
            analyzer.update(subject, batch, features=network)
        found = analyzer.interpolations(subject, network)
        assert found is not None
        assert found.network == network.described
        assert found.in_time is not None
        distances[curved] = found
        # By hand, whole.
        z = ramp.encode(clips)
        for latents, told in (
            (between_in_time(z, False), found.in_time),
            (half_way_to_nearest(z), found.of_neighbours),
        ):
            expected = frechet_distance(
                feature_statistics(network(clips)),
                feature_statistics(network(ramp.decode(latents))),
            )
            assert told.frechet.value == pytest.approx(expected, rel=1e-3)
            assert told.kernel.value is not None
    assert distances[False].in_time.frechet.value < 0.2 * distances[True].in_time.frechet.value


def test_order_and_processes_change_nothing(vae):
    subject, network = Subject.of(vae), load_network("probe")
    batch = open_source("world", 9, 32, 32).batch(range(6))

    def seen(parts) -> Analyzer:
        analyzer = Analyzer(vocabulary=VOCABULARY)
        for part in parts:
            captions = [batch.captions[i] for i in part]
            analyzer.update(subject, batch.video[part], captions=captions, features=network)
        return analyzer

    whole = seen([[0, 1, 2, 3, 4, 5]])
    joined = seen([[4, 1]]).merge(seen([[0], [5, 3, 2]]))
    one, other = (a.interpolations(subject, network) for a in (whole, joined))
    assert one is not None
    assert other is not None
    assert one.of_neighbours.frechet.value == pytest.approx(
        other.of_neighbours.frechet.value, rel=1e-3
    )
    assert one.in_time.kernel.value == pytest.approx(other.in_time.kernel.value, rel=1e-2, abs=1e-5)
    # Ten neighbours take more than six clips.
    assert whole.result(interpolations=one).semantics is None


def test_an_analysis_tells_them(vae):
    batch = open_source("world", 9, 32, 32).batch(range(12))
    analysis = analyze(vae, batch.video, features=load_network("probe"))
    assert analysis.interpolations is not None
    told = analysis.summary()["interpolations"]
    assert told["in_time"]["frechet"]["low"] <= told["in_time"]["frechet"]["value"]
    assert analyze(vae, batch.video[:2]).interpolations is None


def test_every_figure_that_is_claimed_to_predict(vae):
    backbone, source = Backbone(vae), open_source("world", 9, 32, 32)
    batch, cover = source.batch(range(24)), open_source("world", 9, 32, 32, channels=4)
    z = backbone.encode(batch.video).mean
    evidence = Evidence(
        latents=z.repeat(3, 1, 1, 1, 1),
        captions=batch.captions * 3,
        encode=lambda clips: backbone.encode(clips).mean,
        decode=backbone.decode,
        lone_first_frame=True,
        clips=batch.video,
        clip_latents=z,
        labels=labels_of(batch.captions, VOCABULARY),
        cover=(cover.batch(range(24)).video[:, 3:] + 1) / 2,
        features=load_network("probe"),
    )
    found = measure_predictors(evidence)
    assert all(math.isfinite(figure.value) and figure.seconds >= 0 for figure in found.values())
    assert list(found) == [name for predictor in PREDICTORS for name in predictor.figures]
    assert len({predictor.source for predictor in PREDICTORS}) == len(PREDICTORS)
    drift = measure_drift(Subject.of(backbone), batch.video)
    lost = drift.psnr[0] - drift.psnr[-1]
    assert found["lost_to_round_trips"].value == pytest.approx(lost, abs=1e-3)
    bare = dataclasses.replace(
        evidence, captions=[str(i) for i in range(72)], labels=None, cover=None, features=None
    )
    assert not {"viv_rho", "srss", "lnc", "ifid_frechet"} & set(measure_predictors(bare))
