"""The discriminators in training: they learn from the reconstructions that the model's step
made.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssvae.losses import LeCam, hinge_loss, r1_penalty
from ssvae.models.discriminator import Discriminator
from ssvae.regularizers.balance import Reduce
from ssvae.training.checkpoint import write_tensors
from ssvae.training.sharding import copied, replicate
from ssvae.training.step import Part
from ssvae.vae.recipe import GANConfig

WEIGHTS, OPTIMIZER = "discriminator.safetensors", "discriminator_optimizer.pt"


class _Judged(nn.Module):
    """Scores of clips and of reconstructions from one call, as distributed training wants it."""

    def __init__(self, discriminator: Discriminator, config: GANConfig):
        super().__init__()
        self.discriminator, self.config = discriminator, config

    def forward(
        self, clips: torch.Tensor, reconstructions: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor | None]:
        """Both scores, and the R1 penalty where it is asked for."""
        scores = self.discriminator(torch.cat([clips, reconstructions]))
        real, fake = ([s.tensor_split(2)[i] for s in scores] for i in (0, 1))
        return real, fake, r1_penalty(self.discriminator, clips) if self.config.r1_weight else None


class Adversary:
    """Discriminators, their optimiser, and their part of a step."""

    def __init__(self, config: GANConfig, accelerator: Accelerator, reduce: Reduce | None):
        self.config, self.accelerator, self.reduce = config, accelerator, reduce
        sizes = config.channels, config.halvings, config.time_halvings
        self.discriminator = Discriminator(*sizes).to(accelerator.device)
        self.lecam = LeCam(device=accelerator.device)
        optimizer = torch.optim.Adam(
            self.discriminator.parameters(), config.learning_rate, fused=True
        )
        self._finite = torch.tensor(True, device=accelerator.device)
        judged = _Judged(self.discriminator, config)
        self._wrapped, self.optimizer = replicate(accelerator, judged, optimizer)

    def learn(
        self, clips: torch.Tensor, reconstructions: torch.Tensor, last: bool
    ) -> dict[str, torch.Tensor]:
        """Add the gradients of a batch of clips and their detached reconstructions.

        ``last`` says that no other batch of this step follows, so that processes join theirs.
        """
        alone = isinstance(self._wrapped, DistributedDataParallel) and not last
        with (
            self._wrapped.no_sync() if alone else nullcontext(),
            self.accelerator.autocast(),
        ):
            return self._learn(clips, reconstructions)

    def _learn(self, clips: torch.Tensor, reconstructions: torch.Tensor) -> dict[str, torch.Tensor]:
        real, fake, r1 = self._wrapped(clips, reconstructions)
        loss = hinge_loss(real, fake)
        terms = dict(discriminator=loss)
        for name, scores in (("score_clips", real), ("score_reconstructions", fake)):
            terms[name] = torch.stack([s.mean() for s in scores]).mean()
        if r1 is not None:
            terms["r1"], loss = r1, loss + 0.5 * self.config.r1_weight * r1
        if self.config.lecam_weight:
            terms["lecam"] = self.lecam(real, fake, self.reduce)
            loss = loss + self.config.lecam_weight * terms["lecam"]
        self._finite = self._finite & torch.isfinite(loss.detach())
        self.accelerator.backward(loss)
        return terms

    def part(self, max_grad_norm: float) -> Part:
        """What a step updates, after the losses that were learned from since the last."""
        finite, self._finite = self._finite, torch.ones_like(self._finite)
        return Part(self._wrapped, [self.optimizer], max_grad_norm, finite)

    def state(self) -> dict[str, Any]:
        """A copy of all that a resumed run needs, by the files that hold it."""
        held = self.discriminator.state_dict() | {"lecam": self.lecam.means}
        return {WEIGHTS: copied(held), OPTIMIZER: copied(self.optimizer.state_dict())}

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Write a :meth:`state`."""
        write_tensors(state[WEIGHTS], folder / WEIGHTS)
        torch.save(state[OPTIMIZER], folder / OPTIMIZER)

    def load(self, folder: Path) -> None:
        """Take up the state that :meth:`save` wrote."""
        state = load_file(folder / WEIGHTS)
        self.lecam.means = state.pop("lecam").to(self.lecam.means.device)
        self.discriminator.load_state_dict(state)
        held = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(held)
