import dataclasses

import pytest
import torch

from small_models import make
from small_runs import cpu
from ssvae.data import World, open_source
from ssvae.data.video_writer import write_video
from ssvae.latents import CacheConfig, CachedClips, LatentCache, write_cache
from ssvae.models.backbones import Backbone
from ssvae.models.layouts import Layout
from ssvae.models.posterior import DiagonalGaussian

CONFIG = CacheConfig("vae", "world", 7, 5, 16, 16, shard_clips=3, posterior="moments")


@pytest.fixture(scope="module")
def backbone():
    return Backbone(make({}))


@pytest.fixture(scope="module")
def cache(backbone, tmp_path_factory) -> LatentCache:
    return write_cache(backbone, tmp_path_factory.mktemp("cache"), CONFIG, cpu())


def source(seed: int = 0) -> World:
    return World(5, 16, 16, seed)


def test_moments_are_the_posteriors(backbone, cache):
    clips = source().batch(range(7)).video
    truth = backbone.encode(clips)
    moments = cache.moments([6, 0, 3])
    torch.testing.assert_close(moments, truth.parameters[[6, 0, 3]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(cache.latents([2]), truth.mean[[2]], atol=1e-5, rtol=1e-4)
    assert isinstance(backbone.posterior(moments), DiagonalGaussian)
    assert cache.clips([6, 0, 3]) == [6, 0, 3]


def test_clips_come_with_their_own_posteriors(backbone, cache):
    """Every clip once an epoch, in another order in each, divided among processes."""
    ours = CachedClips(cache, source(), seed=5)
    ours.check(backbone)
    seen = []
    for epoch in range(2):
        order = []
        for index in range(7 * epoch, 7 * epoch + 7):
            batch = ours.batch([index])
            made = backbone.encode(batch.video).parameters
            torch.testing.assert_close(batch.moments, made, atol=1e-5, rtol=1e-4)
            order.append(batch.names[0])
        assert len(set(order)) == 7
        seen.append(order)
    assert seen[0] != seen[1]
    assert set(ours.indices(0, 2, 0, 2)) | set(ours.indices(0, 2, 1, 2)) == {0, 1, 2, 3}


def test_a_cache_of_other_latents_is_refused(backbone, cache, tmp_path):
    with pytest.raises(
        ValueError, match="does not hold this AutoencoderKLSSVAE's latents of the clips"
    ):
        CachedClips(cache, source(seed=1)).check(backbone)
    other = make({})
    with torch.no_grad():
        other.encoder.conv_out.weight *= 1.2
    with pytest.raises(ValueError, match=r"another VAE's latents .*write one of this"):
        CachedClips(cache, source()).check(Backbone(other))
    half = Backbone(make({}).to(torch.bfloat16))
    CachedClips(cache, source()).check(half)
    plain = write_cache(backbone, tmp_path, dataclasses.replace(CONFIG, posterior="mean"), cpu())
    with pytest.raises(ValueError, match="keeps the posterior's mean alone.*--posterior moments"):
        CachedClips(plain, source()).check(backbone)


def test_left_out_clips_are_not_drawn(backbone, tmp_path):
    """Files: the broken one is read as another, and each clip's latents are its own."""
    for i in range(4):
        write_video(tmp_path / f"{i}.mkv", World(5, 16, 16).batch([i]).video[0], 8)
    (tmp_path / "1.mkv").write_bytes(b"broken")
    config = dataclasses.replace(CONFIG, data=str(tmp_path))
    cache = write_cache(backbone, tmp_path / "cache", config, cpu())
    ours = CachedClips(cache, open_source(str(tmp_path), 5, 16, 16))
    batch = ours.batch(range(7))
    made = backbone.encode(batch.on()).parameters
    torch.testing.assert_close(batch.moments, made, atol=1e-4, rtol=1e-4)


def test_a_vae_of_no_variance_has_means_alone(backbone, tmp_path):
    class Plain(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def encode(self, clips):
            posterior = backbone.encode(clips)
            return type(
                "Output", (), {"latent_dist": type("D", (), {"parameters": posterior.mean})}
            )

    layout = Layout(4, 4, 4, (0.0,) * 4, (1.0,) * 4, has_variance=False)
    plain = Backbone(Plain(), layout)  # type: ignore[arg-type]
    cache = write_cache(plain, tmp_path, CONFIG, cpu())
    assert cache.moments([1]).shape == (1, 4, 2, 4, 4)
    CachedClips(cache, source()).check(plain)
