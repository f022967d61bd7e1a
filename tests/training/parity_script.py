"""Trains a few steps of Adam in float64 and writes the weights; see test_processes.py.

python parity_script.py OUT STEPS          a batch of 4 in one process
torchrun --nproc-per-node 2 parity_script.py OUT STEPS    two processes with 2 each
"""

import dataclasses
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from small_models import NARROW, write_lpips
from ssvae.cli.console import exit_without_teardown
from ssvae.losses import perceptual
from ssvae.recipes import tiny
from ssvae.regularizers import (
    ChannelPrefixConfig,
    EquivarianceConfig,
    FutureDroppingConfig,
    InputMaskingConfig,
    LatentNoiseConfig,
    LCRConfig,
    ScaleEquivarianceConfig,
    SpectrumMatchingConfig,
)
from ssvae.training import make_accelerator
from ssvae.training.metrics import read_out
from ssvae.vae.recipe import ClipConfig, GANConfig, ImagesConfig, PerceptualConfig
from ssvae.vae.trainer import VAETrainer


def main(out: Path, steps: int) -> None:
    torch.set_default_dtype(torch.float64)
    perceptual.STAGES = NARROW
    accelerator = make_accelerator("cpu")
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        write_lpips(out)
    accelerator.wait_for_everyone()
    recipe = tiny()
    recipe = dataclasses.replace(
        recipe,
        steps=steps,
        model=dataclasses.replace(recipe.model, z_dim=4, base_channels=8),
        clip=ClipConfig(frames=9, height=28, width=28),
        images=ImagesConfig(share=0.25, batch_size=4 // accelerator.num_processes),
        batch_size=4 // accelerator.num_processes,
        lcr=LCRConfig(enabled=True, weight=0.5),
        scale_equivariance=ScaleEquivarianceConfig(enabled=True, factors=(1.2,)),
        equivariance=EquivarianceConfig(enabled=True, probability=1.0, scales=(0.84, 0.86)),
        latent_noise=LatentNoiseConfig(enabled=True, gamma=1.0),
        input_masking=InputMaskingConfig(enabled=True),
        future_dropping=FutureDroppingConfig(enabled=True),
        channel_prefix=ChannelPrefixConfig(enabled=True, shares=(0.5, 1.0)),
        spectrum_matching=SpectrumMatchingConfig(enabled=True, weight=0.1),
        perceptual=PerceptualConfig(0.5, str(out / "vgg.pt"), str(out / "linear.pt")),
        gan=GANConfig(
            start=1,
            max_weight=1e9,
            channels=4,
            halvings=3,
            learning_rate=1e-3,
            lecam_weight=0.1,
            r1_weight=0.1,
        ),
        learned_variance=True,
        accumulate=2,
        optimizer="adam",
        learning_rate=1e-3,
        warmup_steps=0,
        ema_decay=0.9,
    )
    trainer = VAETrainer(recipe, accelerator)
    for step, batch in enumerate(trainer.batches(1, steps), 1):
        (metrics,) = read_out(accelerator, [trainer.step(step, batch).metrics])
        assert step <= 1 or "discriminator" in metrics
    if accelerator.is_main_process:
        state = {f"model.{k}": v for k, v in trainer.objective.state_dict().items()}
        assert trainer.adversary is not None
        judge = trainer.adversary.discriminator.state_dict()
        state |= {f"judge.{k}": v for k, v in judge.items()}
        state |= {f"ema.{i}": v for i, v in enumerate(trainer.ema.shadow_params)}  # type: ignore[union-attr]
        state |= {f"metric.{k}": torch.tensor(v) for k, v in metrics.items()}
        save_file({k: v.contiguous() for k, v in state.items()}, out / "weights.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    exit_without_teardown()
