"""A cache as torch's data set, and from a hub that was asked before."""

import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from ssvae.latents import LatentCache, MapConfig
from ssvae.models.finding import open_vae


def test_items_are_standardised_and_undone(cache):
    data = LatentCache(cache)
    item = data[3]
    raw = data.latents([3])
    assert item["caption"] == data.captions[3]
    assert torch.allclose(item["latents"], data.fit()(raw)[0])
    assert torch.allclose(data.denormalise(item["latents"][None]), raw, atol=1e-5)
    assert torch.equal(data[-1]["latents"], data[len(data) - 1]["latents"])
    with pytest.raises(IndexError):
        data[len(data)]


def test_a_map_of_ones_own(cache):
    whitened = LatentCache(cache).fit(MapConfig(normalization="whitened"))
    data = LatentCache(cache, whitened)
    channels = torch.stack([item["latents"] for item in data]).transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(channels), torch.eye(len(channels)), atol=1e-2)
    assert torch.allclose(data.denormalise(data[0]["latents"][None]), data.latents([0]), atol=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_reads_each_clip_once(cache, workers):
    data = LatentCache(cache)
    _ = data[0]  # a file is open when the workers begin
    # Not forked: this process has threads, and what they hold is held in a fork for ever.
    context = "forkserver" if workers else None
    loader = DataLoader(data, 6, shuffle=True, num_workers=workers, multiprocessing_context=context)
    batches = list(loader)
    assert batches[0]["latents"].shape == (6, *data.shape)
    assert sorted(c for batch in batches for c in batch["caption"]) == sorted(data.captions)
    assert pickle.loads(pickle.dumps(data))[5]["caption"] == data.captions[5]


def test_processes_have_parts_of_their_own(cache):
    data = LatentCache(cache)
    parts = [data.part(process, 3) for process in range(3)]
    assert [len(part) for part in parts] == [6, 6, 6]
    assert len({i for part in parts for i in part.indices}) == 18


def test_a_clip_is_decoded(cache):
    data = LatentCache(cache)
    clips = open_vae(data.vae).decode(data.denormalise(torch.randn(1, *data.shape)))
    assert clips.shape == (1, 3, *data.config.size)


LINES = """
import sys
from ssvae.latents import LatentCache
for name in sys.argv[1:]:
    try:
        print(len(LatentCache(name)))
    except ValueError as error:
        print(error)
"""


def test_a_hub_id(cache, tmp_path):
    """What was fetched before is there without a network; what was not is told at once."""
    home = tmp_path / "hub" / "datasets--somebody--latents"
    shutil.copytree(cache, home / "snapshots" / ("0" * 40))
    (home / "refs").mkdir()
    for name in ("main", "v1"):
        (home / "refs" / name).write_text("0" * 40)
    around = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    names = "somebody/latents", "nobody/latents", "hub/latents"  # the last below a folder here
    names += "somebody/latents@v1", "somebody/latents@v2"
    words = [sys.executable, "-c", LINES, *names]
    done = subprocess.run(words, capture_output=True, text=True, env=around, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, absent, here, same, other = done.stdout.strip().splitlines()
    assert found == same == "20"
    assert "somebody/latents@v2 is not here, was not fetched before" in other
    assert "nobody/latents is not here, was not fetched before" in absent
    assert "no finished cache" in here
