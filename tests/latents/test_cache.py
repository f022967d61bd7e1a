import json
import shutil

import pytest
import torch

from ssvae.data import Batch, World
from ssvae.latents import CacheConfig, LatentCache
from ssvae.latents.encoding import write_index, write_shards
from ssvae.models.backbones import load_backbone
from ssvae.models.fingerprint import latents_fingerprint
from ssvae.spectra import ChannelSpectrum


@pytest.fixture(scope="module")
def backbone(vae_folder):
    return load_backbone(vae_folder)


def write(backbone, vae_folder, out, source=None, processes=1, **changes):
    encoder = latents_fingerprint(backbone.vae)
    settings = dict(clips=20, shard_clips=8, encoder=encoder, first_frame_alone=True)
    config = CacheConfig(str(vae_folder), **{**settings, **changes})
    source = source or World(seed=config.seed)
    for process in range(processes):
        write_shards(backbone, source, out, config, process, processes)
    return write_index(out, config)


def test_holds_what_the_vae_gives_at_random(cache, backbone):
    latents, batch = LatentCache(cache), World().batch(range(20))
    expected = backbone.encode(batch.video).mean
    assert len(latents) == 20
    assert latents.shape == (4, 3, 8, 8)
    assert latents.captions == batch.captions
    assert latents.captions_of([3, 0]) == [batch.captions[3], batch.captions[0]]
    order = [19, 0, 7, 8, 8, 16]
    assert torch.allclose(latents.latents(order), expected[order], atol=1e-5)
    assert torch.allclose(torch.cat(list(latents.batches(6))), expected, atol=1e-5)
    own = ChannelSpectrum().update(expected).result()
    assert torch.allclose(latents.statistics.mean, own.mean, atol=1e-5)
    assert torch.allclose(latents.statistics.covariance, own.covariance, atol=1e-5)
    standardised = ChannelSpectrum().update(latents.fit()(expected)).result()
    assert standardised.mean.abs().max() < 1e-4
    assert torch.allclose(standardised.std, torch.ones(4).double(), atol=1e-4)


def test_bfloat16_takes_half_the_room(backbone, vae_folder, cache, tmp_path):
    half = write(backbone, vae_folder, tmp_path, storage="bfloat16")
    whole = LatentCache(cache)
    one, other = half.latents(range(20)), whole.latents(range(20))
    assert one.dtype == torch.float32
    assert torch.equal(one, other.bfloat16().float())
    sizes = [
        path.stat().st_size
        for path in (tmp_path / "latents-00000.safetensors", cache / "latents-00000.safetensors")
    ]
    assert sizes[0] < 0.6 * sizes[1]
    torch.testing.assert_close(half.statistics.covariance, whole.statistics.covariance)
    with pytest.raises(ValueError, match="storage must be float32 or bfloat16"):
        CacheConfig("vae", storage="float16")


def test_many_processes_write_what_one_writes(backbone, vae_folder, cache, tmp_path):
    write(backbone, vae_folder, tmp_path, processes=3)
    for file in cache.glob("latents-*.safetensors"):  # captions of other tests may lie beside
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()
    assert (tmp_path / "index.json").read_text() == (cache / "index.json").read_text()


def test_goes_on_where_it_stopped(backbone, vae_folder, cache, tmp_path):
    out = tmp_path / "cache"
    shutil.copytree(cache, out)
    for name in ("index.json", "latents-00001.json"):  # as if killed in the second shard
        (out / name).unlink()
    with pytest.raises(ValueError, match="no finished cache"):
        LatentCache(out)
    read = []

    class Counted(World):
        def batch(self, indices):
            read.extend(indices)
            return super().batch(indices)

    write(backbone, vae_folder, out, Counted())
    assert read == list(range(8, 16))
    assert (out / "index.json").read_text() == (cache / "index.json").read_text()


def test_samples_do_not_depend_on_batches(backbone, vae_folder, tmp_path):
    a = write(backbone, vae_folder, tmp_path / "a", posterior="sample")
    b = write(backbone, vae_folder, tmp_path / "b", posterior="sample", shard_clips=3)
    mean = backbone.encode(World().batch(range(20)).video).mean
    assert torch.allclose(a.latents(range(20)), b.latents(range(20)), atol=1e-5)
    assert not torch.allclose(a.latents(range(20)), mean, atol=1e-3)


def test_a_clip_that_fails_is_left_out_and_named(backbone, vae_folder, tmp_path, caplog):
    class Broken(World):
        def batch(self, indices):
            batch = super().batch(indices)
            for row, index in enumerate(indices):
                if index in (3, 12):
                    batch.video[row, 0, 0, 0, 0] = float("nan")
            return Batch(batch.video, batch.captions)

    cache = write(backbone, vae_folder, tmp_path, Broken())
    assert cache.failed == [3, 12]
    assert len(cache) == 18
    assert "left out clip 3 of world" in caplog.text
    captions = World().batch(range(20)).captions
    assert cache.captions == [c for i, c in enumerate(captions) if i not in (3, 12)]
    assert torch.isfinite(cache.latents(range(18))).all()


def test_no_usable_clip_is_an_error(backbone, vae_folder, tmp_path):
    class Broken(World):
        def batch(self, indices):
            batch = super().batch(indices)
            return Batch(batch.video * float("nan"), batch.captions)

    with pytest.raises(ValueError, match="no clip of world could be encoded"):
        write(backbone, vae_folder, tmp_path, Broken())


def test_a_cache_that_an_older_version_began_goes_on(backbone, vae_folder, tmp_path):
    """It knows nothing of the number format, which was then float32."""
    whole = write(backbone, vae_folder, tmp_path)
    (tmp_path / "index.json").unlink()
    path = tmp_path / "config.json"
    older = json.loads(path.read_text())
    assert older.pop("dtype") == "float32"
    path.write_text(json.dumps(older))
    again = write(backbone, vae_folder, tmp_path)
    assert torch.equal(again.latents(range(20)), whole.latents(range(20)))
    with pytest.raises(ValueError, match="dtype was float32 and is bfloat16"):
        write(backbone, vae_folder, tmp_path, dtype="bfloat16")


def test_other_settings_and_broken_files_are_refused(backbone, vae_folder, cache, tmp_path):
    out = tmp_path / "cache"
    shutil.copytree(cache, out)
    with pytest.raises(ValueError, match=r"seed was 0 and is 1"):
        write(backbone, vae_folder, out, seed=1)
    (out / "latents-00001.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"latents-00001.safetensors does not open"):
        LatentCache(out).latents([9])
    shutil.copy(cache / "latents-00001.safetensors", out)
    with open(out / "latents-00001.safetensors", "r+b") as file:
        file.seek(-40, 2)
        file.write(b"?")
    with pytest.raises(ValueError, match=r"00001.safetensors does not open .it is not as it was"):
        LatentCache(out).latents([9])
    index = json.loads((out / "index.json").read_text())
    (out / "index.json").write_text(json.dumps(index | {"mean": [0.5, *index["mean"][1:]]}))
    with pytest.raises(ValueError, match=r"index.json is damaged .*as it was written.: remove it"):
        LatentCache(out)
    (out / "index.json").write_text(json.dumps(index | {"format": 9}))
    with pytest.raises(ValueError, match="has format 9, expected 1"):
        LatentCache(out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds other files and is no cache"):
        write(backbone, vae_folder, foreign)
    with pytest.raises(ValueError, match=r"4n \+ 1 frames"):
        write(backbone, vae_folder, tmp_path / "odd", frames=8)


def test_few_shards_are_open_at_once(backbone, vae_folder, tmp_path, monkeypatch):
    """Others are opened again, and give the same."""
    cache = write(backbone, vae_folder, tmp_path, clips=12, shard_clips=2)
    order = [11, 0, 7, 3, 9, 5, 1]
    expected = cache.latents(order), cache.captions_of(order)
    assert len(cache._open) > 2
    monkeypatch.setattr("ssvae.latents.cache.OPEN", 2)
    again = LatentCache(tmp_path)
    assert torch.equal(again.latents(order), expected[0])
    assert again.captions_of(order) == expected[1]
    assert len(again._open) == 2
    assert list(again.each_caption()) == cache.captions
