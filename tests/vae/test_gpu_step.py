"""What a step would do on a GPU, as far as a CPU can tell: its operators are watched on their way.

The written-out operators run in the kernels' place, so that the way is a GPU's.
"""

from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from small_runs import cpu, small
from ssvae.losses import distance
from ssvae.models import activation, blocks, norm
from ssvae.vae import ClipConfig, GANConfig
from ssvae.vae.trainer import VAETrainer

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Watch(TorchDispatchMode):
    """Counts operators by name, and convolutions by whether all that they meet is channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.convolutions = Counter[str](), Counter[bool]()
        self.complex = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        self.calls[name] += 1
        tensors = [x for x in args[:3] if isinstance(x, torch.Tensor) and x.ndim in FORMATS]
        if "convolution" in name:
            last = (x.is_contiguous(memory_format=FORMATS[x.ndim]) for x in tensors)
            self.convolutions[all(last)] += 1
        self.complex += any(isinstance(x, torch.Tensor) and x.is_complex() for x in args)
        return out


@pytest.fixture
def as_on_a_gpu():
    places = (norm, blocks, activation, distance)
    patches = [patch.object(place, "fuses", lambda x: True) for place in places]
    for each in patches:
        each.start()
    yield
    for each in patches:
        each.stop()


def test_a_step_of_a_vae(as_on_a_gpu):
    """With GAN and LCR: the host reads one flag, and convolutions meet channels last."""
    gan = GANConfig(start=0, channels=4, halvings=2)
    trainer = VAETrainer(small(gan=gan, clip=ClipConfig(9, 32, 32)), cpu())
    batches = trainer.batches(1, 2)
    trainer.step(1, next(batches))
    batch = next(batches)
    with Watch() as watch:
        trainer.step(2, batch)
    assert watch.calls["_local_scalar_dense"] == 1
    assert {"norm_silu", "norm_silu_backward", "add_biased", "activated_"} <= set(watch.calls)
    assert "silu" not in watch.calls, "inside of the operators alone"
    lost, kept = watch.convolutions[False], watch.convolutions[True]
    assert lost <= 0.1 * kept, "but for the first and last layers, of few channels"


def test_a_step_of_a_transformer_has_no_complex_numbers(tmp_path, monkeypatch):
    """torch.compile makes no code for them."""
    from small_diffusion import save_latents, save_vae, small_recipe
    from ssvae.diffusion.trainer import DiffusionTrainer

    cache = save_latents(save_vae(tmp_path / "vae"), tmp_path / "cache")
    trainer = DiffusionTrainer(small_recipe(cache, steps=2), cpu())
    (batch,) = trainer.batches(1, 1)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with Watch() as watch:
        trainer.step(1, batch)
    assert watch.complex == 0
    assert watch.calls["_local_scalar_dense"] == 1
