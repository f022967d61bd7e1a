"""Training a video diffusion model on cached latents."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_model, save_model
from torch import nn

from ssvae.data.loader import ahead, moved
from ssvae.diffusion.building import build, problems_of, shift_of
from ssvae.diffusion.caption_embeddings import CaptionEmbeddings
from ssvae.diffusion.flow import BINS, loss_by_time
from ssvae.diffusion.objective import FlowObjective
from ssvae.diffusion.pipeline import PipelineConfig
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.diffusion.text import tokenize, word_level_encoder
from ssvae.latents.cache import LatentCache
from ssvae.latents.mapped import load_map, save_map
from ssvae.storage.seeds import generator_of
from ssvae.training.loop import OnStep, check_problems, train
from ssvae.training.metrics import Ratio, StepOutcome, Value
from ssvae.training.optimizers import set_rates, transformer_optimizers
from ssvae.training.schedules import warmup_cooldown
from ssvae.training.step import update


@dataclass(frozen=True)
class LatentBatch:
    """Standardised latents (B, C, T, H, W), with a caption each."""

    latents: torch.Tensor
    captions: list[str]


def train_diffusion(
    recipe: DiffusionRecipe,
    out: str | Path,
    accelerator: Accelerator | None = None,
    on_step: OnStep | None = None,
    tracker: str | None = None,
) -> Path:
    """Train a diffusion model into the run folder ``out``, or go on; see :func:`ssvae.training.train`."""
    check_problems(problems_of(recipe))
    return train(recipe, DiffusionTrainer, out, accelerator, on_step, tracker)


class DiffusionTrainer:
    """A diffusion model in training: the model, its running mean, its optimiser, and a step."""

    def __init__(self, recipe: DiffusionRecipe, accelerator: Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        device = accelerator.device
        self.cache = LatentCache(recipe.latents)
        self.map = (load_map(recipe.map) if recipe.map else self.cache.fit()).to(device)
        if recipe.map:
            self.map(self.cache.latents([0]).to(device))  # a map for other latents stops here
        torch.manual_seed(recipe.seed)
        self.tokenizer: Any = None
        self._tokens: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        encoder, self._embeddings = None, None
        if recipe.text.encoder is None:
            self.tokenizer, encoder = word_level_encoder(recipe.text)
            width = recipe.text.width
        else:
            self._embeddings = CaptionEmbeddings(
                self.cache.path, recipe.text.encoder, self.cache.captions
            )
            self._embeddings.write(accelerator)
            width = self._embeddings.width
        transformer = build(recipe, self.cache.shape[0], width)
        shift = shift_of(recipe, self.cache.shape)
        self.objective = FlowObjective(transformer, encoder, shift).train().to(device)
        self.parameters = list(self.objective.parameters())
        self.ema = EMAModel(self.parameters, decay=recipe.ema_decay, foreach=True)
        self.ema.to(device)
        optimizers = transformer_optimizers(
            transformer.blocks,
            self.parameters,
            recipe.optimizer,
            muon_learning_rate=recipe.muon_learning_rate,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        self._wrapped, *self.optimizers = accelerator.prepare(self.objective, *optimizers)

    def batches(self, first_step: int, last_step: int) -> Iterator[LatentBatch]:
        """A batch for each of these steps; every clip once an epoch, in a new order each."""
        size, share = self.recipe.batch_size, self.accelerator.process_index
        processes, order = self.accelerator.num_processes, _Order(self.recipe.seed, len(self.cache))
        captions = self.cache.captions

        def read(step: int) -> tuple[torch.Tensor, list[str]]:
            start = ((step - 1) * processes + share) * size
            indices = [order[position] for position in range(start, start + size)]
            return self.cache.latents(indices), [captions[i] for i in indices]

        steps = range(first_step, last_step + 1)
        # One thread: the order is read from one epoch to the next. On a CPU it would take the cores.
        on_gpu = self.accelerator.device.type == "cuda"
        for latents, of_clips in ahead(read, steps, 1) if on_gpu else map(read, steps):
            yield LatentBatch(self.map(moved(latents, self.accelerator.device)), of_clips)

    def step(self, step: int, batch: LatentBatch) -> StepOutcome:
        """One update; see :func:`ssvae.training.step.update`."""
        recipe, accelerator = self.recipe, self.accelerator
        share = warmup_cooldown(step, recipe.warmup_steps, recipe.steps, recipe.cooldown_steps)
        set_rates(self.optimizers, share)
        # All randomness of a step follows from (seed, process, step), so none is ever saved.
        process, device = accelerator.process_index, accelerator.device
        generator = generator_of(recipe.seed, process, step, device=device)
        # The host asks for these, and should not wait for a GPU.
        on_host = generator if device.type == "cpu" else generator_of(recipe.seed, process, step)
        drop = torch.rand(len(batch.captions), generator=on_host)
        captions = [
            "" if u < recipe.caption_dropout else caption
            for u, caption in zip(drop.tolist(), batch.captions, strict=True)
        ]
        losses, times = self._wrapped(
            batch.latents, self._text(captions), (recipe.time_mean, recipe.time_std), generator
        )
        loss = losses.mean()
        accelerator.backward(loss)
        norm, updated = update(
            accelerator,
            self._wrapped,
            self.optimizers,
            recipe.max_grad_norm,
            torch.isfinite(loss.detach()),
        )
        if updated:
            self.ema.step(self.parameters)
        metrics: dict[str, Value] = dict(loss=loss.detach(), grad_norm=norm)
        totals, counts = loss_by_time(losses.detach(), times)
        for i in range(BINS):
            metrics[f"loss_t{(i + 0.5) / BINS:.1f}"] = Ratio(totals[i], counts[i])
        return StepOutcome(metrics | dict(learning_rate=share * recipe.learning_rate), updated)

    def validate(self, step: int, out: Path) -> dict[str, float]:
        """None: its clips are scored by ``ssvae bench``, after the run."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing that has to be gathered: every process holds all of it."""
        return {}

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Write the running mean as models that load by themselves, and all that resuming needs."""
        self.ema.store(self.parameters)
        self.ema.copy_to(self.parameters)
        self.objective.transformer.save_pretrained(folder / "transformer")
        if self.objective.text_encoder is not None:
            self.objective.text_encoder.save_pretrained(folder / "text_encoder")  # type: ignore[operator]
            self.tokenizer.save_pretrained(folder / "tokenizer")
        self.ema.restore(self.parameters)
        save_map(self.map, folder / "map.safetensors")
        cache, recipe = self.cache.config, self.recipe
        PipelineConfig(
            frames=cache.frames,
            height=cache.height,
            width=cache.width,
            fps=cache.fps,
            shift=self.objective.shift,
            vae=cache.vae,
            text_encoder=recipe.text.encoder,
        ).save(folder)
        save_model(self.objective, str(folder / "model.safetensors"))
        torch.save(self.ema.state_dict(), folder / "ema.pt")
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save(states, folder / "optimizer.pt")

    def load(self, folder: Path) -> None:
        """Take up the state that :meth:`save` wrote."""
        load_model(self.objective, folder / "model.safetensors")
        ema, states = (
            torch.load(folder / name, map_location="cpu", weights_only=True)
            for name in ("ema.pt", "optimizer.pt")
        )
        self.ema.load_state_dict(ema)
        self.ema.to(self.accelerator.device)
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)

    def _text(self, captions: list[str]) -> tuple[torch.Tensor, ...]:
        """What the objective takes: embeddings, or token ids with their mask."""
        device = self.accelerator.device
        if self._embeddings is not None:
            return (moved(self._embeddings.embeddings(captions), device),)
        for caption in set(captions) - set(self._tokens):
            ids, mask = tokenize(self.tokenizer, [caption])
            self._tokens[caption] = ids[0], mask[0]
        rows = [self._tokens[caption] for caption in captions]
        padded = [
            nn.utils.rnn.pad_sequence(list(x), batch_first=True) for x in zip(*rows, strict=True)
        ]
        return tuple(moved(x, device) for x in padded)


class _Order:
    """Which clip stands at each position of an endless sequence: each once an epoch, shuffled."""

    def __init__(self, seed: int, clips: int):
        self.seed, self.clips = seed, clips
        self._epoch, self._order = -1, []

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.clips)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(
                self.clips, generator=generator_of(self.seed, epoch)
            ).tolist()
        return self._order[place]
