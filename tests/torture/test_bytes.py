"""Damaged files: each is read as it is, or refused by name; nothing else."""

import json
import random
import shutil
from pathlib import Path

import pytest
from chamber import MODEL, command, mutated

from commands import TINY
from made_videos import write
from ssvae.models.shipped import FOLDER

pytestmark = [pytest.mark.slow, pytest.mark.torture]
SMALL = (
    *TINY,
    *["--warmup-steps", "1", "--checkpoint-every", "2", "--device", "cpu", "--tracker", "none"],
)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """One whole file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    for i, ending in enumerate(("mp4", "mkv", "webm", "mov")):
        write(folder / f"film.{ending}", 9 + i, 48, 64)
    films = folder / "films"
    films.mkdir()
    for i in range(3):
        write(films / f"{i}.mp4", 9, 16, 16)
    (folder / "list.csv").write_text(
        "path,caption\n" + "".join(f"films/{i}.mp4,film {i}\n" for i in range(3))
    )
    (folder / "list.jsonl").write_text(
        "".join(json.dumps({"path": f"films/{i}.mp4", "caption": "a"}) + "\n" for i in range(3))
    )
    for words in (
        ("encode", "film.mkv", "z.safetensors", "--model", MODEL),
        ("shards", "films", "shards"),
        ("train", "tiny", "--steps", 4, "--out", "run", *SMALL),
        (
            "cache-latents",
            "--vae",
            "run",
            "--clips",
            8,
            "--size",
            16,
            16,
            "--shard-clips",
            4,
            "--out",
            "cache",
        ),
    ):
        assert command(*words, folder=folder).held()
    shutil.copytree(FOLDER / MODEL, folder / "model")
    return folder


def damaged(made: Path, tmp_path: Path, name: str, seed: int) -> Path:
    """A copy of everything, with this file damaged."""
    folder = tmp_path / "work"
    shutil.copytree(made, folder, symlinks=True)
    path = folder / name
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"{name} {seed}")))
    return folder


@pytest.mark.parametrize("seed", range(35))
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.webm", "film.mov"])
def test_damaged_videos(name, seed, made, tmp_path):
    folder = damaged(made, tmp_path, name, seed)
    done = command("reconstruct", name, "out.mp4", "--model", MODEL, folder=folder)
    assert done.held() or done.refused(name), done.said


@pytest.mark.parametrize("seed", range(60))
def test_damaged_latents(seed, made, tmp_path):
    folder = damaged(made, tmp_path, "z.safetensors", seed)
    done = command("decode", "z.safetensors", "out.mp4", "--model", MODEL, folder=folder)
    assert done.held() or done.refused("z.safetensors"), done.said


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_damaged_models(name, seed, made, tmp_path):
    """A folder without a seal may be read with other weights; one with it never."""
    folder = damaged(made, tmp_path, f"model/{name}", seed)
    done = command("reconstruct", "film.mp4", "out.mp4", "--model", "model", folder=folder)
    assert done.held() or done.refused("model"), done.said


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_damaged_lists(name, seed, made, tmp_path):
    folder = damaged(made, tmp_path, name, seed)
    done = command("shards", name, "out", folder=folder)
    assert done.held() or done.refused(name), done.said


@pytest.mark.parametrize("seed", range(40))
def test_damaged_tars(seed, made, tmp_path):
    folder = damaged(made, tmp_path, "shards/000000.tar", seed)
    done = command(
        "train", "tiny", "--steps", 2, "--out", "new", "--data", "shards", *SMALL, folder=folder
    )
    assert done.status == 0 or "error: " in done.said
    assert "Traceback" not in done.said


CHECKPOINT = (
    *("vae/diffusion_pytorch_model.safetensors", "vae/config.json", "optimizer.pt", "muon.pt"),
    *("masking.safetensors", "sha256.json"),
)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", CHECKPOINT)
def test_damaged_checkpoints(name, seed, made, tmp_path):
    """The one before is taken, and the run ends as the unbroken one does."""
    folder = damaged(made, tmp_path, f"run/checkpoints/step-00000004/{name}", seed)
    damage = (folder / "run" / "checkpoints" / "step-00000004" / name).read_bytes()
    whole = (made / "run" / "metrics.jsonl").read_text()
    done = command(
        "train", "tiny", "--steps", 6, "--decay-steps", 4, "--out", "run", *SMALL, folder=folder
    )
    assert done.status == 0, done.said
    path = f"run/checkpoints/step-00000004/{name}"
    if name != "sha256.json" and damage != (made / path).read_bytes():
        assert "step-00000004 is damaged" in done.said, done.said
    assert (folder / "run" / "metrics.jsonl").read_text().startswith(whole)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize(
    "name", ["index.json", "latents-00000.safetensors", "latents-00001.json", "config.json"]
)
def test_damaged_caches(name, seed, made, tmp_path):
    folder = damaged(made, tmp_path, f"cache/{name}", seed)
    options = (
        "--steps",
        2,
        "--warmup-steps",
        1,
        "--batch-size",
        4,
        "--model.layers",
        1,
        "--device",
        "cpu",
    )
    done = command(
        "train-diffusion", "dit-tiny", "--latents", "cache", "--out", "dit", *options, folder=folder
    )
    untouched = name.endswith("config.json") or name.endswith("00001.json")  # the index has it all
    assert done.status == 0 if untouched else done.status in (0, 2), done.said
    assert "Traceback" not in done.said
    if name.endswith(".safetensors"):
        assert done.status == 2
        assert name in done.said


@pytest.mark.parametrize("seed", range(25))
def test_damaged_settings_of_a_run(seed, made, tmp_path):
    folder = damaged(made, tmp_path, "run/config.json", seed)
    done = command("train", "tiny", "--steps", 4, "--out", "run", *SMALL, folder=folder)
    assert "Traceback" not in done.said
    assert done.status == 0 or (done.status == 2 and "error: " in done.said), done.said
