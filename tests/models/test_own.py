"""VAEs of the user's own: named by a function, their layout measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from commands import status_and_output
from ssvae.data import probe
from ssvae.models.backbones import Backbone
from ssvae.models.finding import open_vae, resolve_vae
from ssvae.models.layouts import Layout, causal, uniform
from ssvae.models.measuring import measured_layout
from ssvae.models.own import Own

FILE = Path(__file__).parents[1] / "own_vaes.py"


def run(*words, folder: Path, status: int = 0) -> str:
    """What a command says."""
    ended, said = status_and_output(*words, folder=folder)
    assert ended == status, said
    return said


@pytest.mark.parametrize(
    ("name", "channels", "factors", "lengths", "has_variance"),
    [
        ("causal", 4, (2, 4), causal(2), True),
        ("uniform", 6, (4, 8), uniform(4), False),
        ("images", 5, (1, 2), uniform(1), False),
    ],
)
def test_a_layout_is_measured(name, channels, factors, lengths, has_variance):
    vae = open_vae(f"{FILE}:{name}")
    layout = vae.layout
    assert (layout.channels, layout.time_factor, layout.space_factor) == (channels, *factors)
    assert layout.clip_lengths == lengths
    assert layout.has_variance == has_variance
    frames = next(n for n in (9, 8) if lengths.fits(n))
    clips = torch.rand(2, 3, frames, 16, 32) * 2 - 1
    posterior = vae.encode(clips)
    assert posterior.mean.shape == (2, *vae.latent_shape(frames, 16, 32))
    assert vae.decode(posterior.mean).shape == clips.shape


def test_a_module_is_imported_by_its_name(monkeypatch):
    monkeypatch.syspath_prepend(str(FILE.parent))
    assert open_vae("own_vaes:causal").layout.time_factor == 2
    assert resolve_vae("own_vaes:causal") == "own_vaes:causal"


def test_a_file_is_found_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(FILE.parent)
    where = resolve_vae("own_vaes.py:causal")
    monkeypatch.chdir(tmp_path)
    assert open_vae(where).layout.time_factor == 2
    (tmp_path / "own_vaes.py:causal").mkdir()
    with pytest.raises(ValueError, match="no model in own_vaes.py:causal"):  # a path comes first
        open_vae("own_vaes.py:causal")


def test_what_is_no_vae_is_told(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        open_vae(f"{tmp_path}/no.py:causal")
    with pytest.raises(ValueError, match="No module named 'nothing_here'"):
        open_vae("nothing_here:causal")
    with pytest.raises(ValueError, match="has no function nobody"):
        open_vae(f"{FILE}:nobody")
    with pytest.raises(ValueError, match="must have the methods encode and decode"):
        open_vae(f"{FILE}:none_at_all")
    (tmp_path / "fails.py").write_text("def make():\n    1 / 0\n")
    with pytest.raises(ValueError, match=r"fails \(ZeroDivisionError"):
        open_vae(f"{tmp_path}/fails.py:make")
    (tmp_path / "odd.py").write_text(
        "from torch import nn\n"
        "class Odd(nn.Module):\n"
        "    def encode(self, x): return x[..., :7, :7]\n"
        "    def decode(self, z): return z\n"
    )
    with pytest.raises(
        ValueError, match=r"this Odd takes no clips .*it decodes .*state its layout"
    ):
        measured_layout(Own(f"{tmp_path}/odd.py:Odd")._called())


def test_a_pair_is_mean_and_log_variance():
    vae = open_vae(f"{FILE}:pair")
    assert vae.layout.has_variance
    clips = torch.rand(2, 3, 8, 16, 16)
    posterior = vae.encode(clips)
    mean, logvar = vae.vae.encode(clips)
    assert torch.equal(posterior.mean, mean)
    assert torch.equal(posterior.logvar, logvar)  # type: ignore[union-attr]


def test_penalties_are_weighed_where_layers_run_last():
    """Whatever the layers are called, and in whatever order they were made."""
    vae = Backbone(open_vae(f"{FILE}:pair").vae)
    assert vae.encoders_last_layer is vae.vae.to_moments
    assert vae.decoders_last_layer is vae.vae.out
    for argument in ("encoders_last", "decoders_last"):
        with pytest.raises(ValueError, match=f"no layer nothing: {argument} takes one of"):
            Backbone(vae.vae, vae.layout, **{argument: "nothing"})


def test_a_file_imports_what_lies_beside_it(tmp_path):
    (tmp_path / "parts_of_mine.py").write_text(FILE.read_text())
    (tmp_path / "mine.py").write_text("from parts_of_mine import uniform as make\n")
    assert open_vae(f"{tmp_path}/mine.py:make").layout.channels == 6


def test_a_layout_that_does_not_hold_is_told():
    vae = open_vae(f"{FILE}:uniform").vae
    with pytest.raises(ValueError, match=r"become \(6, 3, 2, 2\) numbers, and they became \(6, 2"):
        Backbone(vae, Layout(6, 4, 8, (0.0,) * 6, (1.0,) * 6, has_variance=False)).encode(
            torch.zeros(1, 3, 9, 16, 16)
        )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Latents of a VAE of one's own."""
    folder = tmp_path_factory.mktemp("own")
    words = "--vae", f"{FILE}:causal", "--out", "latents", "--data", "world", "--clips", "8"
    run("cache-latents", *words, folder=folder)
    return folder / "latents"


def test_commands_take_one(tmp_path, cache):
    size = ("--frames", "9", "--size", "32", "32")
    mine = f"{FILE}:causal"
    page = tmp_path / "page.html"
    told = run(
        *("analyze", f"mine={mine}", "tiny", "--videos", "world", "--clips", "4", *size),
        *("--out", page, "--skip-artefacts"),
        folder=tmp_path,
    )
    assert "mine" in told
    assert page.is_file()
    scored = tmp_path / "scores.json"
    run(
        *("evaluate", "reconstruction", "--model", mine, "--videos", "world", "--clips", "4"),
        *(*size, "--out", scored),
        folder=tmp_path,
    )
    assert json.loads(scored.read_text())["figures"]
    learn = "train-diffusion", "dit-tiny", "--latents", cache, "--out", "run", "--steps", "2"
    run(*learn, folder=tmp_path)
    make = "generate", "a red disc", "--model", "run", "--out", "clips", "--number", "1"
    said = run(*make, folder=tmp_path, status=2)
    assert "--vae" in said  # what a file names is not imported
    run(*make, "--vae", mine, "--steps", "2", folder=tmp_path)
    assert list((tmp_path / "clips").glob("*.mp4"))


def test_it_trains_on_and_its_run_is_read_again(tmp_path):
    mine, out = f"{FILE}:uniform", tmp_path / "run"
    run(
        *("train", "adapt", "--model", mine, "--data", "world", "--out", out, "--steps", "1"),
        *("--clip.frames", "8", "--clip.height", "32", "--clip.width", "32"),
        *("--perceptual.weight", "0", "--lcr.window", "1", "2", "2", "--validation.every", "0"),
        *("--learning-rate", "0.01", "--warmup-steps", "0"),
        folder=tmp_path,
    )
    before, after = open_vae(mine), open_vae(f"{mine}:{out}")
    changed = [
        not torch.equal(a, b)
        for a, b in zip(before.vae.parameters(), after.vae.parameters(), strict=True)
    ]
    assert all(changed)
    with pytest.raises(ValueError, match="VAE of your own is named FILE.py:FUNCTION"):
        open_vae(str(out))


def test_nothing_is_imported_that_was_not_named(cache):
    """A cache says where its VAE is from; reading it runs none of that."""
    config = json.loads((cache / "index.json").read_text())["config"]
    assert config["vae"] == f"{FILE}:causal"
    code = (
        "import sys\n"
        "from ssvae.latents import LatentCache\n"
        "from ssvae.models.backbones import load_backbone\n"
        f"cache = LatentCache({str(cache)!r})\n"
        "try:\n    load_backbone(cache.vae)\nexcept ValueError as error:\n    print(error)\n"
        "assert 'own_vaes' not in sys.modules\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "is imported only where a command is given it" in said.stdout


def test_a_vae_whose_first_frame_is_as_the_others_generates_too(tmp_path):
    """Its clips have 4n frames, where diffusers' pipelines count 4n + 1."""
    mine = f"{FILE}:uniform"
    size = "--frames", "8", "--size", "32", "32"
    run(
        *("cache-latents", "--vae", mine, "--out", "latents", "--data", "world", "--clips", "8"),
        *size,
        folder=tmp_path,
    )
    learn = "train-diffusion", "dit-tiny", "--latents", "latents", "--out", "run", "--steps", "1"
    said = run(*learn, folder=tmp_path)
    assert f"--vae {FILE}" in said  # how to see what it makes
    make = "generate", "a disc", "--model", "run", "--number", "1", "--steps", "1", "--vae", mine
    for frames in (8, 12):
        out = f"clips-{frames}"
        run(*make, "--out", out, "--frames", str(frames), folder=tmp_path)
        (film,) = (tmp_path / out).glob("*.mp4")
        assert probe(film).frames == frames
    said = run(*make, "--frames", "9", "--out", "no", folder=tmp_path, status=2)
    assert "frames must be 4n for this model, got 9: for example 8" in " ".join(said.split())
    said = run(
        *learn[:-4], "--out", "image", "--condition", "first-frame", folder=tmp_path, status=2
    )
    assert "needs a VAE that encodes a first frame by itself" in " ".join(said.split())
