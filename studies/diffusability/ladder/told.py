"""Diffusion models that are told a clip's attributes as numbers, in a training loop of their own.

Part 10 of the plan asks with them what a lead hangs on: captions that have to be read, or latents.

Shape legend: B clips, K attributes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ssvae.bench.scoring import Scorer
from ssvae.data import vocabulary_of
from ssvae.data.vocabulary import Vocabulary
from ssvae.diffusion.flow import draw_times, noisy
from ssvae.latents.cache import LatentCache
from ssvae.models.backbones import Backbone
from ssvae.storage.seeds import generator_of
from ssvae.training.optimizers import set_rates
from ssvae.training.schedules import warmup_cooldown
from ssvae.training.sharding import ema_of

UNSAID = 0
"""The number of an attribute that is not told; values count from 1."""


class AttributeEmbedding(nn.Module):
    """The sum of an embedding of each attribute, (B, K) numbers to (B, width)."""

    def __init__(self, vocabulary: Vocabulary, width: int):
        super().__init__()
        sizes = [len(values) + 1 for values in vocabulary.kinds.values()]
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)

    def forward(self, attributes_BK: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, width)."""
        columns = zip(self.tables, attributes_BK.unbind(1), strict=True)
        return torch.stack([table(column) for table, column in columns]).sum(0)


@dataclass(frozen=True)
class Regime:
    """How such a model is trained and sampled."""

    evaluations: Sequence[int]
    """Steps after which it is scored."""
    ema_decay: float
    scheduler: Callable[..., Any]
    """Makes one of diffusers' samplers, which keep state."""
    sampling_steps: int
    guidance: float
    batch_size: int = 16
    warmup_steps: int = 50
    dropout: float = 0.1
    """Share of clips of which nothing is told."""
    time_mean: float = 0.0
    """Of the times' logits, whose deviation is 1."""
    max_grad_norm: float = 1.0


def learning_curve(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    cache: LatentCache,
    backbone: Backbone,
    scorer: Scorer,
    regime: Regime,
    seed: int,
) -> list[dict[str, Any]]:
    """Train ``model`` on standardised latents and score its running mean: a row an evaluation.

    ``model`` takes noisy latents (B, C, t, h, w), times (B,) in [0, 1] and attributes (B, K), and
    gives the velocity n - x.
    """
    standardise = cache.fit()
    told = numbers_of(cache.captions, scorer.data)
    ema = ema_of(model.parameters(), regime.ema_decay, torch.device("cpu"))
    size, last = regime.batch_size, max(regime.evaluations)
    epochs = range(-(-last * size // len(cache)))
    order = torch.cat(
        [torch.randperm(len(cache), generator=generator_of(seed, 0, epoch)) for epoch in epochs]
    )
    rows = []
    for step in range(1, last + 1):
        set_rates(optimizers, warmup_cooldown(step, regime.warmup_steps, last, 0))
        indices = order[(step - 1) * size : step * size]
        x, generator = standardise(cache.latents(indices.tolist())), generator_of(seed, 1, step)
        kept = torch.rand(size, 1, generator=generator) >= regime.dropout
        attributes = torch.where(kept, told[indices], UNSAID)
        t = draw_times(size, regime.time_mean, 1.0, 1.0, generator)
        noise = torch.randn(x.shape, generator=generator)
        loss = (model(noisy(x, noise, t), t, attributes) - (noise - x)).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), regime.max_grad_norm)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        ema.step(model.parameters())
        if step in regime.evaluations:
            asked = numbers_of(scorer.captions, scorer.data)
            ema.store(model.parameters())
            ema.copy_to(model.parameters())
            latents = sample(model, asked, cache.shape, regime)
            ema.restore(model.parameters())
            clips = [
                backbone.decode(standardise.inverse(z)).clamp(-1, 1) for z in latents.split(64)
            ]
            rows.append({"step": step, **scorer.score(torch.cat(clips))})
    return rows


@torch.no_grad()
def sample(
    model: nn.Module,
    asked_BK: torch.Tensor,
    shape: Sequence[int],
    regime: Regime,
    seed: int = 0,
    batch_size: int = 64,
) -> torch.Tensor:
    """Latents (B, *shape) of what is asked for; the noise of clip i follows from seed and i."""
    parts = []
    for start in range(0, len(asked_BK), batch_size):
        asked = asked_BK[start : start + batch_size]
        nothing = torch.full_like(asked, UNSAID)
        noise = [
            torch.randn(*shape, generator=generator_of(seed, start + i)) for i in range(len(asked))
        ]
        x, scheduler = torch.stack(noise), regime.scheduler()
        scheduler.set_timesteps(regime.sampling_steps)
        for time in scheduler.timesteps:
            t = (time / 1000).expand(len(x)).float()
            velocity = model(x, t, asked)
            if regime.guidance != 1:
                free = model(x, t, nothing)
                velocity = free + regime.guidance * (velocity - free)
            x = scheduler.step(velocity, time, x, return_dict=False)[0]
        parts.append(x)
    return torch.cat(parts)


def numbers_of(captions: Sequence[str], data: str) -> torch.Tensor:
    """What captions of a source say (B, K), values from 1 on."""
    read: Mapping[str, torch.Tensor] = vocabulary_of(data).read(captions)
    return torch.stack(list(read.values()), 1) + 1
