"""The node package by ComfyUI's rules for nodes, as far as these go without ComfyUI."""

import importlib.util
import inspect
from pathlib import Path

import pytest
import torch

from ssvae.data import read_frames, to_clip, write_video
from ssvae.inference import reconstruct_clips
from ssvae.models.channels import with_channels

FILE = Path(__file__).parents[2] / "integrations/comfyui/ssvae_nodes.py"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="not part of the source archive")


@pytest.fixture(scope="module")
def nodes():
    spec = importlib.util.spec_from_file_location("ssvae_nodes", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(nodes, name: str, **inputs):
    """A node as ComfyUI runs it: a fresh instance, what is not connected by its default."""
    node = nodes.NODE_CLASS_MAPPINGS[name]
    widgets = {}
    for key, (kind, *options) in node.INPUT_TYPES()["required"].items():
        if options:
            widgets[key] = options[0]["default"]
            assert not isinstance(kind, list) or widgets[key] in kind
    outputs = getattr(node(), node.FUNCTION)(**(widgets | inputs))
    assert isinstance(outputs, tuple)
    assert len(outputs) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    return outputs[0]


def test_nodes_are_as_comfyui_asks(nodes):
    assert nodes.NODE_CLASS_MAPPINGS.keys() == nodes.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        assert isinstance(node.CATEGORY, str)
        named = inspect.signature(getattr(node, node.FUNCTION)).parameters
        assert list(named) == ["self", *node.INPUT_TYPES()["required"]]


def test_a_graph_of_all_nodes_reconstructs(nodes):
    """Odd sizes and lengths come back as they were, to what the library gives."""
    vae = run(nodes, "SSVAELoad", model="tiny", device="cpu")
    images = torch.rand(6, 35, 50, 3, generator=torch.Generator().manual_seed(0))
    latent = run(nodes, "SSVAEEncode", ssvae=vae, images=images)
    assert latent["samples"].shape == (1, 16, 3, 9, 13)
    made = run(nodes, "SSVAEDecode", ssvae=vae, latent=latent)
    assert made.shape == images.shape
    clip = images.permute(3, 0, 1, 2)[None] * 2 - 1
    truth = (reconstruct_clips(vae, clip)[0].permute(1, 2, 3, 0) + 1) / 2
    torch.testing.assert_close(made, truth.clamp(0, 1), atol=1e-4, rtol=0)
    other = run(nodes, "SSVAELoad", model="tiny-baseline", device="cpu")
    with pytest.raises(
        ValueError, match=r"another VAE's latents: connect the model that encoded it"
    ):
        run(nodes, "SSVAEDecode", ssvae=other, latent=latent)


def test_latents_that_other_nodes_change_are_not_cut(nodes):
    vae = run(nodes, "SSVAELoad", model="tiny", device="cpu")
    latent = run(nodes, "SSVAEEncode", ssvae=vae, images=torch.rand(5, 30, 32, 3))
    larger = {**latent, "samples": latent["samples"].repeat_interleave(2, 3)}
    assert run(nodes, "SSVAEDecode", ssvae=vae, latent=latent).shape == (5, 30, 32, 3)
    assert run(nodes, "SSVAEDecode", ssvae=vae, latent=larger).shape == (5, 64, 32, 3)


def test_latents_are_standardised_by_the_config(nodes):
    vae = run(nodes, "SSVAELoad", model="tiny", device="cpu")
    vae.register_to_config(latents_mean=[0.5] * 16, latents_std=[2.0] * 16)
    images = torch.rand(1, 32, 32, 4)  # with an alpha channel, which is left out
    plain, standard = (
        run(nodes, "SSVAEEncode", ssvae=vae, images=images, standardise=s)["samples"]
        for s in (False, True)
    )
    torch.testing.assert_close(standard, (plain - 0.5) / 2)
    from_image = run(nodes, "SSVAEDecode", ssvae=vae, latent={"samples": standard[:, :, 0]})
    from_clip = run(nodes, "SSVAEDecode", ssvae=vae, latent={"samples": plain}, standardised=False)
    torch.testing.assert_close(from_image, from_clip, atol=1e-5, rtol=0)
    tiled = run(nodes, "SSVAEDecode", ssvae=vae, latent={"samples": standard}, tile=64)
    torch.testing.assert_close(tiled, from_clip, atol=1e-5, rtol=0)
    assert not vae.use_tiling


def test_models_of_other_channels(nodes):
    """What is opaque goes through as colours do; alpha comes back beside colours as they are."""
    vae = run(nodes, "SSVAELoad", model="tiny", device="cpu")
    colours = torch.rand(5, 32, 32, 3)
    made = {}
    for channels, model in ((3, vae), (4, with_channels(vae, 4)), (1, with_channels(vae, 1))):
        latent = run(nodes, "SSVAEEncode", ssvae=model, images=colours)
        made[channels] = run(nodes, "SSVAEDecode", ssvae=model, latent=latent)
    torch.testing.assert_close(made[4][..., :3], made[3], atol=1e-4, rtol=0)
    assert (made[4][..., 3] == 1).all()
    assert made[1].shape == colours.shape
    hidden = torch.cat([colours, torch.zeros(5, 32, 32, 1)], -1)
    wide = with_channels(vae, 4)
    latents = [
        run(nodes, "SSVAEEncode", ssvae=wide, images=images)["samples"]
        for images in (hidden, torch.zeros(5, 32, 32, 4))
    ]
    torch.testing.assert_close(*latents)
    with torch.no_grad():
        wide.decoder.conv_out.bias[-4:] = -0.5  # alpha of a quarter: colours are divided by it
    half = run(nodes, "SSVAEDecode", ssvae=wide, latent={"samples": latents[0]})
    assert float(half[..., 3].mean()) == pytest.approx(0.25)
    plain = run(nodes, "SSVAEDecode", ssvae=vae, latent={"samples": latents[0]})
    torch.testing.assert_close(half[..., :3], (plain / 0.25).clamp(max=1), atol=1e-4, rtol=0)


def test_a_video_of_a_file(nodes, tmp_path):
    write_video(tmp_path / "a.mp4", torch.rand(3, 5, 32, 48) * 2 - 1, 8)
    clip = to_clip(f.image for f in read_frames(tmp_path / "a.mp4"))
    images = (clip.permute(1, 2, 3, 0) + 1) / 2
    vae = run(nodes, "SSVAELoad", device="cpu")  # film
    made = run(
        nodes, "SSVAEDecode", ssvae=vae, latent=run(nodes, "SSVAEEncode", ssvae=vae, images=images)
    )
    assert made.shape == (5, 32, 48, 3)
    assert 0 <= made.min() <= made.max() <= 1
