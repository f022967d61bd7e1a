import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from commands import status_and_output
from small_runs import cpu, rows
from ssvae.data import World
from ssvae.latents import CacheConfig, write_cache
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone, load_backbone
from ssvae.models.finding import load_vae
from ssvae.models.layouts import Layout, uniform
from ssvae.models.posterior import Deterministic, DiagonalGaussian
from ssvae.models.students import SIZES, student_of
from ssvae.recipes import distil
from ssvae.vae import problems_of, train_autoencoder
from ssvae.vae.distillation import latent_terms
from ssvae.vae.recipe import ClipConfig, DistilRecipe, GANConfig, ImagesConfig, ValidationConfig


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    vae = AutoencoderKLSSVAE.from_preset(
        "tiny", z_dim=4, base_channels=8, latents_mean=(0.1,) * 4, latents_std=(0.5,) * 4
    )
    for parameter in vae.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    vae.save_pretrained(folder)
    return str(folder)


def recipe(teacher: str, **changes) -> DistilRecipe:
    small = dict(
        steps=3, teacher=teacher, data="world", clip=ClipConfig(9, 16, 16), batch_size=2,
        warmup_steps=1, validation=ValidationConfig(every=3, clips=2, shown=1),
    )  # fmt: skip
    return dataclasses.replace(distil(), **(small | changes))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("time", "space"), [(4, 4), (4, 8), (4, 16), (8, 32), (1, 8), (2, 2), (4, 2), (1, 1)]
)
def test_students_have_their_teachers_latents(size, time, space):
    layout = Layout(5, time, space, (0.1,) * 5, (2.0,) * 5)
    with torch.device("meta"):
        student = Backbone(AutoencoderKLSSVAE(**vars(student_of(layout, size))))
    assert student.layout == layout


def test_three_sizes_each_far_smaller_than_the_published_model():
    with torch.device("meta"):
        published = AutoencoderKLSSVAE.from_preset("ssvae-c48-f16t4")
        layout = Backbone(published).layout
        students = [AutoencoderKLSSVAE(**vars(student_of(layout, size))) for size in SIZES]
    small, medium, large, teacher = (
        sum(p.numel() for p in vae.parameters()) for vae in (*students, published)
    )
    assert 16 * small < 4 * medium < large < teacher / 5


def test_a_compression_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="halves time again and again.*got 6"):
        student_of(Layout(12, 6, 8, (0.0,) * 12, (1.0,) * 12), "small")
    with pytest.raises(ValueError, match=r"takes 4n \+ 1 frames, this teacher 4n"):
        student_of(Layout(12, 4, 8, (0.0,) * 12, (1.0,) * 12, uniform(4)), "small")


def test_terms_by_hand():
    """Three standard deviations away, and logs of variances that differ by 2."""
    mean, least = torch.randn(2, 3, 2, 4, 4), torch.full((3, 1, 1, 1), 1e-3)
    teacher = DiagonalGaussian(torch.cat([mean, torch.full_like(mean, 2 * -1.5)], 1))
    student = DiagonalGaussian(
        torch.cat([mean + 3 * torch.tensor(-1.5).exp(), torch.full_like(mean, -5.0)], 1)
    )
    terms = latent_terms(student, teacher, least)
    assert float(terms["latents"]) == pytest.approx(10**0.5 - 1, rel=1e-5)
    assert float(terms["latent_error"]) == pytest.approx(3, rel=1e-5)
    assert float(terms["spread"]) == pytest.approx(2, rel=1e-5)
    # A posterior narrower than the least unit, and one without a width, are measured by that.
    narrow = DiagonalGaussian(torch.cat([mean, torch.full_like(mean, -29.0)], 1))
    for each in (narrow, Deterministic(mean)):
        terms = latent_terms(DiagonalGaussian(torch.cat([mean + 4e-3, mean], 1)), each, least)
        assert float(terms["latent_error"]) == pytest.approx(4, rel=1e-2)
    assert "spread" not in terms


@pytest.mark.parametrize("halves", ["both", "encoder", "decoder"])
def test_a_run_leaves_the_teacher_and_the_other_half_alone(teacher, halves, tmp_path):
    gan = GANConfig(start=1, halvings=2, channels=4) if halves == "decoder" else GANConfig()
    plan = recipe(teacher, halves=halves, gan=gan, images=ImagesConfig(share=0.3, batch_size=2))
    before = load_backbone(teacher).vae.state_dict()
    train_autoencoder(dataclasses.replace(plan, steps=1), tmp_path / "run", cpu())
    first = load_vae(tmp_path / "run").state_dict()
    train_autoencoder(plan, tmp_path / "run", cpu())
    for name, value in load_backbone(teacher).vae.state_dict().items():
        assert torch.equal(value, before[name])
    student = load_vae(tmp_path / "run")
    moved = {
        n.split(".")[0] for n, v in student.state_dict().items() if not torch.equal(v, first[n])
    }
    assert moved == ({"encoder", "decoder"} if halves == "both" else {halves})
    told = set(rows(tmp_path / "run")[-1])
    assert ("latents" in told) == (halves != "decoder")
    assert ("l1" in told) == (halves != "encoder")
    assert student.config["latents_std"] == [0.5] * 4
    (figures,) = (tmp_path / "run" / "validation.jsonl").read_text().splitlines()[-1:]
    assert json.loads(figures)["psnr"] > 0

    clip, z = World(9, 16, 16).batch([0]).on("cpu"), torch.zeros(1, 4, 3, 4, 4)
    for half, call in (
        ("encoder", lambda: student.encode(clip)),
        ("decoder", lambda: student.decode(z)),
    ):
        if halves in ("both", half):
            call()
        else:
            with pytest.raises(ValueError, match=f"its {halves} alone.*take its teacher's {half}"):
                call()


def test_a_student_comes_nearer(teacher, tmp_path):
    train_autoencoder(recipe(teacher, steps=40, ema_decay=0.0), tmp_path / "run", cpu())
    told = rows(tmp_path / "run")
    for name in ("latent_error", "l1"):
        early, late = ([row[name] for row in part] for part in (told[:5], told[-5:]))
        assert sum(late) < 0.8 * sum(early), name


def test_what_does_not_fit_is_said(teacher):
    assert problems_of(distil_without_teacher()) == [
        "teacher must be given: a run, a model's folder, a name or a hub id"
    ]
    wrong = recipe(teacher, halves="encoder", gan=GANConfig(start=0), learned_variance=True)
    said = " ".join(problems_of(wrong))
    assert "leave out gan.start" in said
    assert "learned_variance is of what a decoder makes" in said


def distil_without_teacher() -> DistilRecipe:
    return dataclasses.replace(distil(), teacher="", data="world")


def test_the_command(tmp_path):
    words = "train distil --teacher tiny --data world --steps 2 --batch-size 1 --out student"
    status, said = status_and_output(
        *words.split(), "--clip.height", 16, "--clip.width", 16, "--device", "cpu", folder=tmp_path
    )
    assert status == 0, said
    assert load_vae(tmp_path / "student").config["z_dim"] == 16


def cache_of(teacher: str, folder: Path, **changes) -> Path:
    settings = dict(vae=teacher, clips=2, frames=9, height=16, width=16) | changes
    write_cache(load_backbone(teacher), folder, CacheConfig(**settings), cpu())
    return folder


def test_a_cache_of_the_teachers_latents_changes_nothing(teacher, tmp_path):
    """A cache of one batch's clips, so that order counts for nothing: the losses are those
    without.
    """
    latents = cache_of(teacher, tmp_path / "latents", posterior="moments")
    given = recipe(teacher, steps=1)
    train_autoencoder(given, tmp_path / "plain", cpu())
    cached = dataclasses.replace(given, latents=str(latents))
    train_autoencoder(cached, tmp_path / "cached", cpu())
    plain, ours = (rows(tmp_path / run)[0] for run in ("plain", "cached"))
    # Which noise a clip's latents get depends on its place in the batch.
    assert ours["latents"] == pytest.approx(plain["latents"], rel=1e-4)
    assert ours["latent_error"] == pytest.approx(plain["latent_error"], rel=1e-4)
    assert ours["l1"] == pytest.approx(plain["l1"], rel=0.05)


def test_a_cache_that_does_not_fit_is_refused(teacher, tmp_path):
    latents = cache_of(teacher, tmp_path / "latents", frames=13)
    kept = cache_of(teacher, tmp_path / "moments", frames=13, posterior="moments")
    for cache, changes, told in (
        (kept, dict(clip=ClipConfig(9, 16, 16)), "is of frames 13, the recipe of 9"),
        (kept, dict(data=str(tmp_path)), "is of data world, the recipe of"),
        (latents, dict(), "keeps the posterior's mean alone"),
    ):
        settings = dict(clip=ClipConfig(13, 16, 16)) | changes
        with pytest.raises(ValueError, match=told):
            train_autoencoder(
                recipe(teacher, latents=str(cache), **settings), tmp_path / "r", cpu()
            )
    shared = recipe(teacher, latents=str(latents), images=ImagesConfig(share=0.5))
    assert any("a cache holds clips of one length" in problem for problem in problems_of(shared))
