import pytest
import torch

from ssvae.data import World
from ssvae.data.world import VOCABULARY
from ssvae.evaluation.probe import (
    Probe,
    load_probe,
    probe_accuracy,
    save_probe,
    train_probe,
)
from ssvae.evaluation.reward import features_of, rewards_of, score_clips, true_clips

CLIPS = 256


@pytest.fixture(scope="module")
def probe():
    return load_probe()


@pytest.fixture(scope="module")
def true(probe):
    return true_clips(probe, clips=512)


@pytest.fixture(scope="module")
def batch():
    return World(seed=123).batch(range(CLIPS))


def test_the_shipped_probe_names_every_attribute(probe):
    accuracy = probe_accuracy(probe, clips=1024, seed=99)
    assert min(accuracy.values()) >= 0.97, accuracy


def test_the_shipped_probe_of_stills_names_picture_and_move():
    accuracy = probe_accuracy(load_probe(data="stills"), clips=512, seed=99, data="stills")
    assert set(accuracy) == {"move", "picture"}
    assert min(accuracy.values()) > 0.93, accuracy


def test_larger_clips_are_averaged_down_to_what_the_probe_knows(probe):
    batch = World(height=64, width=64, seed=123).batch(range(64))
    features = features_of(probe, batch.video)
    rewards, _ = rewards_of(probe, features, batch.captions)
    assert all(float(reward.mean()) > 0.9 for reward in rewards.values())
    twice = batch.video.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(features_of(probe, twice), features)


def test_true_clips_score_near_one(probe, true, batch):
    scores = score_clips(probe, batch.video, batch.captions, true)
    assert scores.reward > 0.97
    assert min(scores.accuracy.values()) > 0.95
    assert scores.diversity == pytest.approx(1, abs=0.05)
    noise = torch.rand(batch.video.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = score_clips(probe, noise, batch.captions, true)
    assert scores.frechet < 0.1 * other.frechet
    assert scores.reward == pytest.approx((scores.coarse + scores.fine) / 2)


def test_shuffled_captions_score_near_chance(probe, true, batch):
    shuffled = batch.captions[1:] + batch.captions[:1]
    scores = score_clips(probe, batch.video, shuffled, true)
    for kind in VOCABULARY.kinds:
        assert scores.rewards[kind] == pytest.approx(VOCABULARY.chance([kind]), abs=0.08)


def test_equal_clips_have_no_diversity(probe, true, batch):
    same = batch.video[:1].expand(16, -1, -1, -1, -1)
    assert score_clips(probe, same, batch.captions[:16], true).diversity == pytest.approx(0)


def test_a_probe_is_saved_and_loaded_and_training_changes_it(tmp_path, batch):
    losses = []
    probe = train_probe(3, batch_size=4, on_step=lambda _, loss: losses.append(loss))
    assert len(losses) == 3
    save_probe(probe, tmp_path / "probe.safetensors")
    again = load_probe(tmp_path / "probe.safetensors")
    a, b = probe.features(batch.video[:4]), again.features(batch.video[:4])
    assert torch.allclose(a, b, atol=0.02)  # half precision
    torch.manual_seed(0)
    assert not torch.allclose(a, Probe().features(batch.video[:4]), atol=0.02)


def test_what_does_not_fit_is_refused(probe, true, batch, tmp_path):
    with pytest.raises(ValueError, match="no caption of the procedural world: 'a cat'"):
        score_clips(probe, batch.video[:2], ["a cat", batch.captions[0]], true)
    with pytest.raises(ValueError, match="each clip needs a caption"):
        score_clips(probe, batch.video[:2], batch.captions[:1], true)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no probe"):
        load_probe(tmp_path / "bad.safetensors")
