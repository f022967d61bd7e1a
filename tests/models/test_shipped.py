"""The models that come with the package are whole, found by name, and do what their cards say."""

import shutil
from pathlib import Path

import pytest
import torch

from commands import status_and_output
from ssvae.analysis import psnr
from ssvae.bench.scales import laptop
from ssvae.bench.scoring import ProbeScorer, Sampling
from ssvae.data import World
from ssvae.data.video import probe
from ssvae.diffusion.pipeline import generate, open_pipeline
from ssvae.models import AutoencoderKLSSVAE, shipped
from ssvae.models.backbones import load_backbone
from ssvae.models.finding import find_vae, load_vae, resolve_vae
from ssvae.models.shipped import FOLDER, shipped_autoencoders, shipped_folder, shipped_models

MOST_BYTES = 15e6


def test_what_there_is():
    cards = shipped_models()
    assert list(cards) == ["film", "tiny", "tiny-baseline", "world-t2v"]
    assert shipped_autoencoders() == ("film", "tiny", "tiny-baseline")
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) <= MOST_BYTES
    for name, card in cards.items():
        assert shipped_folder(name) == FOLDER / name
        assert card.parameters > 1e6
        assert all(command.startswith("ssvae ") for command in card.commands)
        assert card.data
        assert card.scores


@pytest.mark.parametrize("name", ["film", "tiny", "tiny-baseline", "world-t2v"])
def test_the_page_says_what_the_cards_say(name):
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    card = shipped_models()[name]
    assert card.data in page
    assert all(command in page for command in card.commands)
    assert all(f"| {what} | {value:.4g} |" in page for what, value in card.scores.items())


@pytest.mark.quick
@pytest.mark.parametrize("name", ["tiny", "tiny-baseline", "film"])
def test_a_name_takes_the_place_of_a_folder(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_vae(name) == find_vae(f"ssvae/{name}") == FOLDER / name
    # Caches and pipelines remember the name, wherever the package lies.
    assert resolve_vae(name) == f"ssvae/{name}"
    own = AutoencoderKLSSVAE.from_pretrained(f"ssvae/{name}")
    assert own.dtype == torch.float32
    weights = load_vae(name).state_dict()
    assert all(torch.equal(weights[key], value) for key, value in own.state_dict().items())


def test_a_folder_of_that_name_comes_first(vae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae.save_pretrained("tiny")
    assert load_vae("tiny").config["base_channels"] == 8
    assert resolve_vae("tiny") == str(tmp_path / "tiny")
    assert load_vae("ssvae/tiny").config["base_channels"] == 24


@pytest.mark.parametrize("name", ["", ".", "..", "ssvae/", "ssvae/../shipped/tiny", "shape"])
def test_names_of_none(name):
    assert shipped_folder(name) is None


def test_a_damaged_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    shutil.copytree(FOLDER / "tiny", tmp_path / "tiny")
    with open(tmp_path / "tiny" / "diffusion_pytorch_model.safetensors", "r+b") as file:
        file.seek(-7, 2)
        file.write(b"?")
    with pytest.raises(ValueError, match="the model tiny that comes with ssvae is damaged .*again"):
        load_vae("tiny")


@pytest.mark.parametrize("name", ["tiny", "tiny-baseline"])
def test_reconstructions_are_as_the_card_says(name):
    (told,) = (v for k, v in shipped_models()[name].scores.items() if k.startswith("PSNR"))
    clips = World(9, 32, 32, seed=77).batch(range(16)).video
    backbone = load_backbone(f"ssvae/{name}")
    with torch.no_grad():
        made = backbone.decode(backbone.encode(clips).mean)
    assert float(psnr(made, clips).mean()) == pytest.approx(told, abs=1.5)


def test_it_makes_what_it_is_asked_for():
    pipeline, config = open_pipeline("world-t2v")
    scorer = ProbeScorer(Sampling(samples=16), laptop().size, None, "cpu")
    size = config.frames, config.height, config.width
    clips = generate(pipeline, scorer.captions, size, steps=8, seed=1)
    scores = scorer.score(clips)
    assert scores["reward"] > 0.8, scores


def test_the_commands_need_no_model(tmp_path):
    status, output = status_and_output("models", folder=tmp_path)
    assert status == 0, output
    assert all(name in output for name in shipped_models())
    status, output = status_and_output("models", "film", folder=tmp_path)
    assert "ssvae train film" in output
    assert "CC-BY 4.0" in " ".join(output.split())
    prompt = "a red disc moving left over coarse waves"
    status, output = status_and_output("generate", prompt, "--steps", "4", folder=tmp_path)
    assert status == 0, output
    assert str(Path("generated") / "contact-sheet.png") in output
    assert (tmp_path / "generated" / "contact-sheet.png").stat().st_size > 1000
    film = str(tmp_path / "generated" / "00-00.mp4")
    status, output = status_and_output("reconstruct", film, "out.mp4", folder=tmp_path)
    assert status == 0, output
    assert probe(tmp_path / "out.mp4").frames == 9
    status, output = status_and_output("models", "shape", folder=tmp_path)
    assert (status, "are film, tiny, tiny-baseline, world-t2v, got shape" in output) == (2, True)
