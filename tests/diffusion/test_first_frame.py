"""Image to video: the first latent frame is given."""

import pytest
import torch

from commands import status_and_output
from small_diffusion import small_recipe
from small_runs import cpu
from ssvae.data import World, read_frames, to_clip, write_video
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.building import build, problems_of
from ssvae.diffusion.first_frame import error_of_others, frame_times, latents_of, token_times
from ssvae.diffusion.objective import FlowObjective
from ssvae.diffusion.pipeline import generate, open_pipeline
from ssvae.diffusion.recipe import ObjectiveConfig, TransformerConfig


def test_times_and_errors_by_hand():
    t, given = torch.tensor([0.5, 0.25]), torch.tensor([True, False])
    times = frame_times(t, given, 3)
    assert times.tolist() == [[0.0, 0.5, 0.5], [0.25, 0.25, 0.25]]
    assert token_times(times, 1, 2)[0].tolist() == [0.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    velocity = torch.zeros(2, 1, 3, 1, 1)
    target = torch.tensor([3.0, 1.0, 2.0]).view(1, 1, 3, 1, 1).expand(2, -1, -1, -1, -1)
    assert error_of_others(velocity, target, given).tolist() == pytest.approx([2.5, 14 / 3])


def test_without_any_given_it_is_flow_matching(monkeypatch):
    torch.manual_seed(0)
    transformer = build(small_recipe(""), channels=4, text_width=16)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.1)
    x, text = torch.randn(4, 4, 3, 4, 4), torch.randn(4, 2, 16)

    def losses(first_frame: bool, share: float = 0.0) -> torch.Tensor:
        monkeypatch.setattr("ssvae.diffusion.objective.SHARE", share)
        objective = FlowObjective(
            transformer, None, 1.0, ObjectiveConfig(), first_frame=first_frame
        )
        return objective(x, (text,), (0.0, 1.0), torch.Generator().manual_seed(0)).flow

    plain = losses(False)
    torch.testing.assert_close(losses(True), plain, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(losses(True, share=1.0), plain)


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("first-frame") / "run"
    train_diffusion(small_recipe(cache, condition="first-frame"), out, cpu())
    return out


def test_clips_begin_with_the_picture(trained):
    pipeline, config = open_pipeline(trained)
    assert config.condition == "first-frame"
    size = config.frames, config.height, config.width
    image = World(*size).batch([3]).video[0, :, 0]
    clips = generate(pipeline, ["a red disc", "a blue disc"], size, steps=3, image=image)
    # The first latent frame is the picture's, whatever the model makes of the rest.
    expected = pipeline.vae.encode(image[None, :, None]).latent_dist.mean
    mean, std = (
        torch.tensor(pipeline.vae.config[name]).view(1, -1, 1, 1, 1)
        for name in ("latents_mean", "latents_std")
    )
    assert torch.allclose(latents_of(pipeline.vae, image) * std + mean, expected, atol=1e-5)
    first = pipeline.vae.decode(expected).sample.clamp(-1, 1)[0, :, 0]
    assert torch.allclose(clips[0, :, 0], first, atol=1e-4)
    assert torch.equal(clips[0, :, 0], clips[1, :, 0])
    assert not torch.equal(clips[0, :, -1], clips[1, :, -1])
    # The hook is gone: without a picture the same model goes by the caption alone.
    free = generate(pipeline, ["a red disc"], size, steps=3)
    assert not torch.allclose(free[0, :, 0], first, atol=1e-2)


def test_what_does_not_fit(cache):
    whole = TransformerConfig(
        patch_size=(3, 2, 2), layers=1, heads=2, head_dim=16, ffn_dim=32, freq_dim=32
    )
    (problem,) = problems_of(small_recipe(cache, condition="first-frame", model=whole))
    assert "needs model.patch_size of one latent frame" in problem


def test_the_command(trained, run, tmp_path):
    film = World(9, 32, 32).batch([5]).video[0]
    write_video(tmp_path / "film.mp4", film, 8)
    words = "generate", "a red disc", "--number", "1", "--steps", "2", "--image", "film.mp4"
    status, said = status_and_output(*words, "--model", trained, folder=tmp_path)
    assert status == 0, said
    (made,) = (tmp_path / "generated").glob("*.mp4")
    assert to_clip(frame.image for frame in read_frames(made)).shape == film.shape
    status, said = status_and_output(*words, "--model", run, "--out", "no", folder=tmp_path)
    assert status == 2
    assert "train-diffusion --condition first-frame" in said
