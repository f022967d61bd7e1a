"""One of two processes meets a clip that is not finite; see test_processes.py."""

import dataclasses
import math

import torch

from ssvae.cli.console import exit_without_teardown
from ssvae.data import Batch, World
from ssvae.recipes import tiny
from ssvae.training import make_accelerator
from ssvae.vae import GANConfig
from ssvae.vae.trainer import VAETrainer


def main() -> None:
    accelerator = make_accelerator("cpu")
    recipe = tiny()
    recipe = dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, z_dim=4, base_channels=8),
        gan=GANConfig(start=0, halvings=3, channels=4),
        ema_decay=0.9,
        accumulate=2,
    )
    trainer = VAETrainer(recipe, accelerator)
    assert trainer.adversary is not None
    parts = [trainer.objective, trainer.adversary.discriminator]
    rank = accelerator.process_index
    for step in (1, 2, 3):
        clips = [
            World(9, 32, 32).batch([8 * step + 4 * i + 2 * rank, 8 * step + 4 * i + 2 * rank + 1])
            for i in (0, 1)
        ]
        if step == 2 and rank == 1:
            video = clips[1].video.clone()
            video[0, 0, 0, 0, 0] = math.nan
            clips[1] = Batch(video, clips[1].captions)
        before = [p.detach().clone() for part in parts for p in part.parameters()]
        outcome = trainer.step(step, tuple(clips))
        after = [p for part in parts for p in part.parameters()]
        moved = any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert moved == (step != 2), (rank, step)
        assert outcome.updated == (step != 2)
    both = accelerator.gather(torch.stack([p.detach().double().sum() for p in after])[None])
    assert torch.equal(both[0], both[1])
    accelerator.print("all agree")


if __name__ == "__main__":
    main()
    exit_without_teardown()
