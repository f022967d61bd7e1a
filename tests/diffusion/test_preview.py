import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from commands import status_and_output
from ssvae import AutoencoderKLSSVAE
from ssvae.data import probe
from ssvae.diffusion.pipeline import assemble, generate
from ssvae.diffusion.preview import check_preview
from ssvae.latents.mapped import MappedAutoencoder
from ssvae.latents.maps import LatentMap
from ssvae.models.backbones import Backbone
from ssvae.storage.runs import checkpoints

CAPTIONS = ["a red disc moving left over coarse waves", "a blue cross moving up over fine waves"]


@pytest.mark.parametrize("mapped", [False, True])
def test_the_last_step_points_to_the_clips(run, mapped):
    """At the end of a rectified flow nothing is left to go: the preview is the clip."""
    pipeline = assemble(checkpoints(run)[-1][1])
    own = Backbone(pipeline.vae)
    if mapped:
        channels = own.layout.channels
        swapped = LatentMap(torch.full((channels,), 0.1), torch.eye(channels).flip(0))
        pipeline.vae = MappedAutoencoder.of(own, swapped)
    check_preview(pipeline, own)
    heard = []
    clips = generate(
        pipeline,
        CAPTIONS,
        (9, 32, 32),
        steps=3,
        batch_size=1,
        on_step=lambda *step: heard.append(step),
    )
    assert [(first, step) for first, step, _ in heard] == [
        (i, s) for i in (0, 1) for s in (1, 2, 3)
    ]
    shown = [own.decode(z).clamp(-1, 1) for _, _, z in heard]
    torch.testing.assert_close(torch.cat([shown[2], shown[5]]), clips, atol=1e-4, rtol=0)
    assert (shown[0] - shown[2]).abs().max() > 1e-3


def test_what_cannot_read_the_latents_is_refused(run):
    pipeline = assemble(checkpoints(run)[-1][1])
    other = AutoencoderKLSSVAE.from_preset("tiny", z_dim=7, base_channels=8)
    with pytest.raises(ValueError, match=r"another shape \(7 channels.*take a student"):
        check_preview(pipeline, Backbone(other))
    own = Backbone(pipeline.vae)
    blind = AutoencoderKLSSVAE(**{**own.vae.config, "halves": "encoder"})
    with pytest.raises(ValueError, match="is an encoder alone"):
        check_preview(pipeline, Backbone(blind))
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ValueError, match="samples with FlowMatchEuler.*replace its scheduler"):
        check_preview(pipeline, own)


def test_the_command_shows_each_step(tmp_path):
    words = "-n", 3, "--steps", 4, "--preview", "tiny-baseline", "--out", "made", "--device", "cpu"
    status, said = status_and_output("generate", CAPTIONS[0], *words, folder=tmp_path)
    assert status == 0, said
    films = sorted((tmp_path / "made" / "steps").iterdir())
    assert [film.name for film in films] == [f"clips-0000-step-00{i}.mp4" for i in (1, 2, 3, 4)]
    assert (probe(films[0]).width, probe(films[0]).frames) == (3 * 32, 9)
    assert (tmp_path / "made" / "steps.png").stat().st_size > 1000
    assert "each step of the sampler in made/steps" in said
