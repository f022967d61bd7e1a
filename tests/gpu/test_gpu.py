"""What a GPU must do as a CPU does, within bounds that are stated here.

They run where torch sees a GPU. SSVAE_GPU_TESTS_ON=cpu runs them on the CPU, which shows that they
run.
"""

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from small_diffusion import small_recipe
from small_runs import OTHERS, rows, small, with_regularizers
from ssvae.data import World
from ssvae.diffusion import train_diffusion
from ssvae.models import AutoencoderKLSSVAE
from ssvae.models.backbones import Backbone
from ssvae.training import make_accelerator, repeat_bit_for_bit
from ssvae.vae import GANConfig, ValidationConfig, train_autoencoder

DEVICE = os.environ.get("SSVAE_GPU_TESTS_ON", "cuda")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="torch sees no GPU"
    ),
]


@pytest.fixture(autouse=True)
def as_if_alone(fresh_process):
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def model(vae) -> AutoencoderKLSSVAE:
    """Weights that are zero nowhere, so that every layer counts."""
    for parameter in vae.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return vae.eval()


@torch.no_grad()
def through(vae: AutoencoderKLSSVAE, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and reconstruction, on the CPU."""
    x = clips.to(vae.device, vae.dtype)
    mean = vae.encode(x).latent_dist.mean
    return mean.float().cpu(), vae.decode(mean).sample.float().cpu()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_it_agrees_with_the_cpu(model):
    clips = World(9, 64, 64).batch(range(2)).video
    reference = through(model, clips)
    make_accelerator("auto" if DEVICE == "cuda" else "cpu")  # sets the policy for precision
    for made, expected in zip(through(model.to(DEVICE), clips), reference, strict=True):
        assert (made - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    half = through(model.to(torch.bfloat16), clips)
    assert relative(half[0], reference[0]) < 0.03
    assert relative(half[1], reference[1]) < 0.03


def test_streams_are_the_whole_and_memory_does_not_grow(model):
    model = model.to(DEVICE)
    clips = World(33, 64, 64, device=DEVICE).batch([0]).video
    with torch.no_grad():
        whole = model.encode(clips).latent_dist.mean
        pieces = [clips[:, :, :9], clips[:, :, 9:25], clips[:, :, 25:]]
        streamed = torch.cat([p.mean for p in model.encode_stream(iter(pieces))], 2)
        assert (streamed - whole).abs().max() < 1e-4
    if DEVICE != "cuda":
        return
    peaks = []
    for frames in (65, 257):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        chunks = (
            torch.zeros(1, 3, 1 if i == 0 else 16, 64, 64, device=DEVICE)
            for i in range(1 + frames // 16)
        )
        with torch.no_grad():
            for made in model.decode_stream(p.mean for p in model.encode_stream(chunks)):
                del made
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 1.1 * peaks[0]


def test_compiled_it_is_the_same(model):
    if DEVICE != "cuda":
        pytest.skip("compiling for a CPU takes minutes; see the slow tests")
    model = model.to(DEVICE)
    clips = World(9, 64, 64).batch(range(2)).video
    plain = through(model, clips)
    Backbone(model).compile()
    for made, expected in zip(through(model, clips), plain, strict=True):
        assert (made - expected).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_autoencoder_trains(tmp_path, dtype):
    """With all of it: LCR, LMR, the GAN, images, a running mean, validation."""
    accelerator = make_accelerator("auto" if DEVICE == "cuda" else "cpu", dtype)
    recipe = small(
        steps=40,
        batch_size=4,
        checkpoint_every=20,
        gan=GANConfig(start=20, channels=4, halvings=3),
        clip=dataclasses.replace(small().clip, height=24, width=24),
        ema_decay=0.9,
        validation=ValidationConfig(every=40, clips=4),
    )
    train_autoencoder(recipe, tmp_path / "run", accelerator)
    metrics = rows(tmp_path / "run")
    assert [row["step"] for row in metrics] == list(range(1, 41))
    assert all(row["grad_norm"] is not None for row in metrics)
    first, last = (sum(row["l1"] for row in some) / 5 for some in (metrics[:5], metrics[-5:]))
    assert last < 0.8 * first
    assert metrics[-1]["lcr_weight"] > 0
    assert metrics[-1]["generator_weight"] > 0
    assert (tmp_path / "run" / "speed.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_diffusion_model_trains(cache, tmp_path, dtype):
    accelerator = make_accelerator("auto" if DEVICE == "cuda" else "cpu", dtype)
    recipe = small_recipe(cache, steps=60, batch_size=8, learning_rate=3e-3, checkpoint_every=60)
    train_diffusion(recipe, tmp_path / "run", accelerator)
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_a_run_that_was_stopped_repeats_bit_for_bit(cache, tmp_path):
    repeat_bit_for_bit()
    accelerator = make_accelerator("auto" if DEVICE == "cuda" else "cpu")
    for name, recipe in {"lcr": small(), "others": with_regularizers(small(), *OTHERS)}.items():
        recipe = dataclasses.replace(recipe, decay_steps=6)
        whole, parts = tmp_path / name, tmp_path / f"{name}-parts"
        train_autoencoder(recipe, whole, accelerator)
        for steps in (4, 6):
            train_autoencoder(dataclasses.replace(recipe, steps=steps), parts, accelerator)
        assert rows(parts) == rows(whole)
    for out, ends in (("dit", (4,)), ("dit-parts", (2, 4))):
        for steps in ends:
            train_diffusion(small_recipe(cache, steps=steps), tmp_path / out, accelerator)
    assert rows(tmp_path / "dit-parts") == rows(tmp_path / "dit")
    weights = Path("checkpoints/step-00000004/model.safetensors")
    assert (tmp_path / "dit" / weights).read_bytes() == (
        tmp_path / "dit-parts" / weights
    ).read_bytes()
