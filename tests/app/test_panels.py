"""What the page's panels compute, without a browser."""

import json
import math
from functools import partial

import pytest
import torch

from made_videos import write
from ssvae.analysis import analyze
from ssvae.analysis.fidelity import psnr
from ssvae.app.films import EXAMPLE, Limits, example_film, example_films, read_film
from ssvae.app.generate import generate_panel
from ssvae.app.measuring import (
    analysed,
    disturbed,
    encoded,
    on_frames,
    principal_colours,
    reconstructed,
)
from ssvae.app.page import build
from ssvae.app.player import panes
from ssvae.app.runs import metrics_of, runs_below
from ssvae.app.shared import Models, in_a_sentence
from ssvae.data import World
from ssvae.models.backbones import Backbone
from ssvae.transforms import dct3


@pytest.fixture
def backbone(vae) -> Backbone:
    return Backbone(vae.eval())


def test_a_film_is_cut_to_what_models_take(backbone, tmp_path):
    path = write(tmp_path / "a b.mp4", count=40, height=90, width=160, fps=10)
    film = read_film(path, [backbone.layout], Limits(seconds=2.0, side=80))
    assert film.clip.shape == (3, 21, 44, 80)  # 2 s, 4n + 1, sides of whole latents
    assert film.fps == pytest.approx(10)
    assert "the film is 160x90" in film.description
    small = read_film(path, [backbone.layout], Limits(seconds=0.05, side=4000))
    assert small.clip.shape == (3, 1, 88, 160)  # never enlarged
    for offered in example_films(tmp_path / "examples").values():
        assert read_film(offered, [backbone.layout], Limits()).clip.shape == (3, 33, 128, 128)
    made = example_film([backbone.layout])
    assert made.name == EXAMPLE
    assert made.clip.shape[1] % 4 == 1


def test_films_that_are_none(backbone, tmp_path):
    layouts = [backbone.layout]
    wrong = tmp_path / "letter.mp4"
    wrong.write_text("Dear all")
    with pytest.raises(ValueError, match=r"^letter\.mp4: unreadable"):
        read_film(wrong, layouts, Limits())
    large = write(tmp_path / "large.mp4")
    with pytest.raises(ValueError, match=r"^large\.mp4 is larger than 0\.001 MB"):
        read_film(large, layouts, Limits(megabytes=0.001))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sides of at least 8"):
        read_film(large, layouts, Limits(side=8))
    with pytest.raises(ValueError, match="seconds must be positive"):
        Limits(seconds=math.nan)


def at_once(pieces):
    """What comes of work whose pieces follow each other."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


@pytest.mark.quick
def test_a_reconstruction_is_measured(backbone):
    clip = World(9, 32, 32).batch([0]).video[0]
    made = at_once(reconstructed(backbone, clip, None))
    assert made.clip.shape == clip.shape
    assert float(made.quality.psnr) == pytest.approx(float(psnr(made.clip[None], clip[None])))
    assert made.bits_per_pixel == 16 * 4 * 3 * 8 * 8 / (9 * 32 * 32)
    long = World(40, 32, 32).batch([0]).video[0][:, :37]
    analysis = at_once(analysed(backbone, long))
    assert (analysis.protocol.clips, analysis.protocol.frames) == (2, 17)
    assert analysis.frequency.low_share == pytest.approx(
        analyze(backbone, torch.stack([long[:, :17], long[:, 17:34]])).frequency.low_share
    )
    assert at_once(analysed(backbone, clip)).protocol.clips == 1


def test_frequencies_are_cut_and_noise_has_its_deviation():
    torch.manual_seed(0)
    z = torch.randn(1, 4, 5, 16, 16) * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1, 1) + 3
    assert torch.equal(disturbed(z, 0, 1), z)
    low = dct3(disturbed(z, 0, 0.47))
    f = torch.tensor(
        [[[(i / 5 + j / 16 + k / 16) / 3 for k in range(16)] for j in range(16)] for i in range(5)]
    )
    kept = f <= 0.47 * f.max()
    assert torch.allclose(low[..., kept], dct3(z)[..., kept], atol=1e-4)
    assert low[..., ~kept].abs().max() < 1e-4
    mean = disturbed(z, 0, 0.001)
    assert torch.allclose(mean, z.mean((2, 3, 4), keepdim=True).expand_as(z), atol=1e-4)
    noise = disturbed(z, 0.5, 1) - z
    assert torch.allclose(noise.std((0, 2, 3, 4)), 0.5 * z.std((0, 2, 3, 4)), rtol=0.1)
    assert torch.equal(disturbed(z, 0.5, 1), disturbed(z, 0.5, 1))


def test_colours_are_the_strongest_channels():
    torch.manual_seed(0)
    z = torch.randn(1, 6, 3, 8, 8) * torch.tensor([9.0, 1, 1, 5, 1, 3]).view(1, 6, 1, 1, 1)
    red, green, blue = (colour.flatten() for colour in principal_colours(z))
    for colour, channel in ((red, 0), (green, 3), (blue, 5)):
        seen = torch.corrcoef(torch.stack([colour, z[0, channel].flatten()]))[0, 1]
        assert abs(seen) > 0.9
    assert torch.equal(principal_colours(z, z), principal_colours(z))
    two = principal_colours(z[:, :2])
    assert two.shape == (3, 3, 8, 8)
    assert not two[2].any()  # grey


def test_a_latent_is_shown_with_its_frames(backbone):
    clip = torch.zeros(3, 9, 8, 12)
    z = encoded(backbone, torch.zeros(3, 9, 8, 12))
    assert z.shape[2:] == (3, 2, 3)
    numbered = torch.arange(3.0).view(1, 3, 1, 1).expand(3, 3, 2, 3)
    assert on_frames(numbered, clip, backbone)[0, :, 0, 0].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2]
    places = torch.arange(6.0).view(1, 1, 2, 3).expand(3, 3, 2, 3)
    shown = on_frames(places, clip, backbone)[0, 0]
    assert shown[:4, :4].eq(0).all()
    assert shown[4:, 8:].eq(5).all()


def test_panes_lie_side_by_side_in_one_video(tmp_path):
    import base64
    import io

    import av

    clips = {"dark": torch.full((3, 5, 20, 31), -1.0), "light": torch.ones(3, 5, 20, 31)}
    value = panes(clips, 8.0)
    assert value["names"] == ["dark", "light"]
    assert (value["frames"], value["width"], value["height"]) == (5, 402, 260)  # 13 times, even
    content = base64.b64decode(value["source"].split(",")[1])
    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5
    assert frames[0].shape == (260, 804, 3)
    assert frames[0][:, :400].max() < 8
    assert frames[0][:, 404:].min() > 247


def test_runs_are_found_and_read_as_far_as_they_go(tmp_path):
    for name, lines in {
        "a/one": [
            '{"step": 1, "loss": 2.0}',
            '{"step": 2, "loss": 1.0, "ok": true}',
            '{"step": 3, "lo',
        ],
        "two": ['{"step": 1, "l1": null}', "[]", '{"loss": 3}'],
    }.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(lines))
    (tmp_path / "two" / "validation.jsonl").write_text(json.dumps({"step": 1, "psnr": 20.0}))
    assert list(runs_below(tmp_path)) == ["a/one", "two"]
    assert metrics_of(tmp_path, ["a/one"]) == ["loss"]
    assert metrics_of(tmp_path, ["two", "../elsewhere"]) == ["psnr"]


@pytest.mark.quick
def test_the_page_is_put_together(vae_folder, run, tmp_path):
    models = Models({"one": str(vae_folder), "two": str(vae_folder)}, "cpu", torch.float32)
    clips = partial(generate_panel, run, "cpu", torch.float32)
    page = build(models, Limits(), clips, run.parent, folder=tmp_path / "one")
    shown = page.get_config_file()
    labels = {c["props"].get("label") for c in shown["components"]}
    assert {"Reconstruct", "Look inside", "Generate", "Compare runs"} <= labels
    assert not shown["analytics_enabled"]
    few = build(models, Limits(), None, None, folder=tmp_path / "two").get_config_file()
    assert "Generate" not in {c["props"].get("label") for c in few["components"]}
    with pytest.raises(ValueError, match="there is no model three"):
        models["three"]


def test_mistakes_become_sentences():
    import gradio as gr

    @in_a_sentence
    def work(wrong: bool):
        yield 1
        if wrong:
            raise ValueError("give something else")
        yield 2

    assert list(work(False)) == [1, 2]
    with pytest.raises(gr.Error) as told:
        list(work(True))
    assert told.value.message == "give something else"
