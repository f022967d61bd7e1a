import subprocess
import sys
from pathlib import Path

import pytest

from small_runs import cpu, rows, small
from ssvae.data import World
from ssvae.data.shard_writer import render, write_shards
from ssvae.latents import write_cache
from ssvae.latents.cache import CacheConfig
from ssvae.models.backbones import load_backbone
from ssvae.storage.locks import written_alone
from ssvae.vae import train_autoencoder

HOLD = """
import sys, time
from pathlib import Path
from ssvae.storage.locks import written_alone
with written_alone(Path(sys.argv[1]), "something"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_ends_with_its_process(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "folder")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is writing it in"):
            written_alone(tmp_path / "folder", "it").__enter__()
        process.kill()
    with written_alone(tmp_path / "folder", "it"):
        pass


def test_nothing_is_written_twice_at_once(tmp_path, vae_folder):
    """The second is refused, and what the first wrote stays as it is."""
    run = tmp_path / "run"
    train_autoencoder(small(), run, cpu())
    before = {p: p.read_bytes() for p in run.rglob("*.json*")}
    cache = CacheConfig(str(vae_folder), clips=4)
    world = render(World(9, 16, 16), "world", (9, 16, 16), 8.0, 0)

    def begin(folder: Path) -> None:
        if folder.name == "run":
            train_autoencoder(small(steps=8, decay_steps=6), folder, cpu())
        elif folder.name == "cache":
            write_cache(load_backbone(vae_folder), folder, cache, cpu())
        else:
            write_shards([0, 1], world, folder)

    for name in ("run", "cache", "shards"):
        folder = tmp_path / name
        with written_alone(folder, "it"):
            with pytest.raises(ValueError, match=f"another process is writing .* in {folder}"):
                begin(folder)
            assert {p: p.read_bytes() for p in run.rglob("*.json*")} == before
        if name != "run":
            begin(folder)
    train_autoencoder(small(), run, cpu())
    assert [row["step"] for row in rows(run)] == list(range(1, 7))
