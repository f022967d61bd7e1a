"""Nothing writes over what it should not, and nothing decodes others' latents: by the commands
themselves.
"""

import json
import shutil

import pytest

from commands import TINY, status_and_output
from made_videos import write
from ssvae.models.finding import load_vae
from ssvae.models.fingerprint import latents_fingerprint
from ssvae.models.shipped import FOLDER
from ssvae.storage.runs import checkpoints


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guards")
    words = ["train", "tiny", "--steps", 2, "--warmup-steps", 1, "--out", "run", *TINY]
    words += ["--clip.frames", 9, "--clip.height", 32, "--clip.width", 32]
    status, said = status_and_output(*words, folder=folder)
    assert status == 0, said
    write(folder / "film.mkv", 9, 32, 32)
    for words in (
        ["cache-latents", "--vae", "tiny", "--data", "world", "--out", "cache", "--clips", 4],
        ["convert", "tiny", "model"],
        ["encode", "film.mkv", "z.safetensors", "--model", "tiny"],
    ):
        status, said = status_and_output(*words, folder=folder)
        assert status == 0, said
    return folder / "run"


STATS = ["--videos", "world", "--clips", 2, "--frames", 9, "--size", 32, 32, "--write"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stats", "run", *STATS], "ssvae convert run DIR makes a copy"),
        (["stats", "film", *STATS], "ssvae convert film DIR makes a copy"),
        (["convert", "run", "run", "--channels", 4], "what is read"),
        (["convert", "film", "run"], "a training run is there"),
        (["convert", "film", FOLDER / "film"], "cannot write into"),
        (["export-onnx", "run", "run"], "what is read"),
        (["generate", "a disc", "--out", "run", "-n", 1, "--steps", 1], "a training run is there"),
        (["shards", "run", "run"], "what is read"),
        (
            ["generate", "a disc", "--out", "run/checkpoints", "-n", 1, "--steps", 1],
            "a training run is there",
        ),
        (["convert", "film", "cache"], "holds other files"),
        (["shards", "world", "cache", "--clips", 2], "holds other files"),
        (
            ["encode", "film.mkv", "model/diffusion_pytorch_model.safetensors", "--model", "tiny"],
            "not a video's latents",
        ),
        (
            ["encode", "film.mkv", "cache/latents-00000.safetensors", "--model", "tiny"],
            "not a video's latents",
        ),
        (["fit-map", "cache", "z.safetensors"], "is not a map"),
        (
            ["cache-latents", "--vae", "tiny", "--data", "world", "--out", "model"],
            "is no cache of latents",
        ),
    ],
    ids=lambda value: "-".join(map(str, value[:3])) if isinstance(value, list) else "",
)
def test_what_is_kept_is_not_written_into(run, words, told):
    before = contents(run.parent), contents(FOLDER)
    status, said = status_and_output(*words, folder=run.parent)
    assert status == 2, said
    assert told in " ".join(said.split())
    assert (contents(run.parent), contents(FOLDER)) == before


def test_a_copy_may_be_written_into(run):
    folder = run.parent
    status, said = status_and_output("convert", "run", "copy", folder=folder)
    assert status == 0, said
    status, said = status_and_output("stats", "copy", *STATS, folder=folder)
    assert status == 0, said
    assert latents_fingerprint(load_vae(folder / "copy")) == latents_fingerprint(load_vae(run))
    std = json.loads((folder / "copy" / "config.json").read_text())["latents_std"]
    assert std != [1.0] * len(std)


def test_a_checkpoint_that_is_given_directly_is_looked_at(run, tmp_path):
    damaged = tmp_path / "run"
    shutil.copytree(run, damaged)
    _, checkpoint = checkpoints(damaged)[-1]
    (weights,) = (checkpoint / "vae").glob("*.safetensors")
    flipped = bytearray(weights.read_bytes())
    flipped[-5] ^= 1
    weights.write_bytes(flipped)
    for model in (checkpoint, checkpoint / "vae"):
        words = [
            "analyze",
            model,
            "--videos",
            "world",
            "--clips",
            2,
            "--frames",
            9,
            "--size",
            32,
            32,
        ]
        status, said = status_and_output(*words, "--out", "r.html", folder=tmp_path)
        assert status == 2, said
        assert "is damaged (" in said
        assert "diffusion_pytorch_model.safetensors" in "".join(said.split())


def test_clips_are_not_decoded_by_another_vae(run, tmp_path):
    folder = run.parent
    words = ["--out", "own", "--clips", 4, "--frames", 9, "--size", 32, 32]
    status, said = status_and_output(
        "cache-latents", "--vae", "run", "--data", "world", *words, folder=folder
    )
    assert status == 0, said
    learn = ["train-diffusion", "dit-tiny", "--latents", "own", "--out", "dit", "--steps", 1]
    status, said = status_and_output(*learn, "--batch-size", 2, folder=folder)
    assert status == 0, said
    words = ["generate", "a disc", "--model", "dit", "-n", 1, "--steps", 1]
    status, said = status_and_output(*words, "--vae", "tiny", "--out", "a", folder=folder)
    assert status == 2, said
    assert "another VAE's latents" in " ".join(said.split())
    assert not (folder / "a").exists()
    status, said = status_and_output(*words, "--out", "b", folder=folder)
    assert status == 0, said
