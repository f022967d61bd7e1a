"""Training an autoencoder: the model, its optimiser, and a step."""

import logging
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from ssvae.data.batch import Batch, Source
from ssvae.data.collection import Collection
from ssvae.data.loader import Loader, batches
from ssvae.data.sources import open_source
from ssvae.fused import check_compiles
from ssvae.regularizers import Draws, LatentMasking
from ssvae.storage.runs import sample_film
from ssvae.storage.seeds import generator_of
from ssvae.training.checkpoint import write_tensors
from ssvae.training.loop import check_problems, train
from ssvae.training.metrics import StepOutcome, Value
from ssvae.training.optimizers import autoencoder_optimizers, set_rates
from ssvae.training.run_log import OnStep
from ssvae.training.sharding import (
    averaged,
    check_optimizer,
    ema_of,
    full_state,
    is_sharded,
    prepare,
    unsharded,
)
from ssvae.training.state import MODEL, gathered, load, write
from ssvae.training.step import Part, update
from ssvae.training.tracking import Tracker
from ssvae.transfer import moved
from ssvae.vae.adversary import Adversary
from ssvae.vae.building import build, cached_clips, objective_of, problems_of
from ssvae.vae.distillation import Distillation
from ssvae.vae.objective import Objective, Outcome
from ssvae.vae.recipe import DistilRecipe, TrainingRecipe
from ssvae.vae.regularization import watches_of
from ssvae.vae.validation import validate

logger = logging.getLogger(__name__)

MASKING = "masking.safetensors"
VAE = "vae"
LPIPS = "lpips."
"""What its weights begin with in the objective; they are not trained, and come from a file."""


def train_autoencoder(
    recipe: TrainingRecipe,
    out: str | Path,
    accelerator: Accelerator | None = None,
    on_step: OnStep | None = None,
    tracker: Tracker | None = None,
) -> Path:
    """Train an autoencoder into the run folder ``out``, or go on; see
    :func:`ssvae.training.train`.
    """
    check_problems(problems_of(recipe))
    return train(recipe, VAETrainer, out, accelerator, on_step, tracker)


class VAETrainer:
    """An autoencoder in training: the model, its adversary, their optimisers, and a step."""

    def __init__(self, recipe: TrainingRecipe, accelerator: Accelerator):
        check_optimizer(recipe.optimizer, accelerator)
        self.recipe, self.accelerator = recipe, accelerator
        self.share = accelerator.process_index, accelerator.num_processes
        self._reduce = self._mean if accelerator.num_processes > 1 else None
        self._sources: dict[tuple[str, int, int, int], Source] = {}
        torch.manual_seed(recipe.seed)
        self.backbone = build(recipe)
        self.backbone.vae.train()
        if recipe.compile:
            check_compiles(accelerator.device)
            self.backbone.compile()
        if not self.backbone.layout.has_variance and accelerator.is_main_process:
            logger.info("%s has no variance: KL is left out", self.backbone.name)
        self.objective = objective_of(self.backbone, recipe, accelerator.device).train()
        half = accelerator.mixed_precision == "bf16"
        if half and self.objective.lpips is not None and not is_sharded(accelerator):
            # Autocast would halve its weights in every step, for they are frozen.
            self.objective.lpips.vgg.to(torch.bfloat16)
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        optimizers = autoencoder_optimizers(
            self.backbone.vae,
            trained,
            recipe.optimizer,
            muon_learning_rate=recipe.muon_learning_rate,
            learning_rate=recipe.learning_rate,
        )
        self._wrapped, *self.optimizers = prepare(accelerator, self.objective, *optimizers)
        self._watches = watches_of(recipe)
        self.adversary = None
        if recipe.gan.start is not None:
            self.adversary = Adversary(recipe.gan, accelerator, self._reduce)
        self.ema = None
        if recipe.ema_decay:
            self.ema = ema_of(self._trained_weights(), recipe.ema_decay, accelerator.device)

    def batches(self, first_step: int, last_step: int) -> Generator[tuple[Batch, ...]]:
        """The batches of each of these steps."""
        recipe, images = self.recipe, self.recipe.images
        loader = Loader(
            self._clips(),
            recipe.batch_size,
            self._source(images.data or recipe.data, 1, recipe.seed) if images.share else None,
            images.batch_size,
            images.share,
            *self.share,
            pin=self.accelerator.device.type == "cuda",
        )
        numbers = range((first_step - 1) * recipe.accumulate, last_step * recipe.accumulate)
        return self._of_steps(batches(loader, numbers, recipe.workers))

    def _of_steps(self, stream: Iterator[Batch]) -> Generator[tuple[Batch, ...]]:
        """The batches of a step together; at the end, why clips were left out."""
        try:
            while parts := tuple(islice(stream, self.recipe.accumulate)):
                yield parts
        finally:
            for (name, *_), source in self._sources.items():
                if isinstance(source, Collection) and source.broken:
                    logger.info("of %s were left out: %s", name, source.reasons())

    def step(self, step: int, batch: tuple[Batch, ...], signal: int = 0) -> StepOutcome:
        """One update of the model, and one of its adversary from the same reconstructions.

        Metrics are means over batches. Where a loss or gradient is not finite on any process, none
        of them updates anything.
        """
        recipe, accelerator = self.recipe, self.accelerator
        rate = recipe.learning_rate_at(step)
        set_rates(self.optimizers, rate / recipe.learning_rate)
        adversary = self.adversary if step > (recipe.gan.start or 0) else None
        rows: list[dict[str, torch.Tensor]] = []
        for number, part in enumerate(batch):
            last = number == len(batch) - 1
            clips = part.on(accelerator.device).to(self.backbone.dtype)
            known = {}
            if part.moments is not None:
                known["moments"] = moved(part.moments, clips.device).to(clips.dtype)
            # All randomness of a step follows from these, so none is ever saved.
            generator = generator_of(recipe.seed, number, step, device=accelerator.device)
            host = generator_of(generator.initial_seed(), 1)
            with nullcontext() if last else accelerator.no_sync(self._wrapped):
                with accelerator.autocast():  # which accelerate leaves out under FSDP
                    outcome: Outcome = self._wrapped(
                        clips,
                        draws=Draws(generator, *self.share, host=host),
                        reduce=self._reduce,
                        discriminator=adversary and adversary.discriminator,
                        **known,
                    )
                accelerator.backward(outcome.loss)
            weights = {name: balance.weight() for name, balance in outcome.balances.items()}
            # What is balanced enters by its gradient, and so the loss that is logged.
            loss = outcome.loss.detach() + sum(weights[n] * outcome.terms[n] for n in weights)
            judged = {}
            if adversary is not None:
                judged = adversary.learn(outcome.target, outcome.reconstruction, last)
            weighed = {f"{name}_weight": weight for name, weight in weights.items()}
            rows.append(dict(loss=loss) | outcome.terms | judged | weighed)
        longest = recipe.max_grad_norm
        finite = torch.stack([torch.isfinite(row["loss"]) for row in rows]).all()
        parts = [Part(self._wrapped, self.optimizers, longest, finite)]
        if adversary is not None:
            parts.append(adversary.part(longest))
        norms, (updated, *judges), signal = update(accelerator, parts, 1 / len(batch), signal)
        if updated and not all(judges):
            logger.warning("the discriminators skip a step: their loss is not finite")
        if self.ema is not None and updated:
            self.ema.step(self._trained_weights())
        metrics: dict[str, Value] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            held = [row[name].detach().float() for row in rows if name in row]
            metrics[name] = held[0] if len(held) == 1 else torch.stack(held).mean()
        for watch in self._watches:
            warning = watch.hear(step, rows[-1])
            if warning and accelerator.is_main_process:
                logger.warning(warning)
        metrics |= dict(grad_norm=norms[0], learning_rate=rate)
        return StepOutcome(metrics, updated, signal)

    def validate(self, step: int, out: Path) -> dict[str, float]:
        """Figures on held-out clips where this step asks for them, else none."""
        config = self.recipe.validation
        if not config.every or (step % config.every and step != self.recipe.steps):
            return {}
        clip = self.recipe.clip
        # None of the training's draws: another seed is another world, and other starts of a video.
        source = self._source(config.data or self.recipe.data, clip.frames, self.recipe.seed + 1)
        with (
            averaged(self.ema, self._trained_weights()),
            unsharded(self._wrapped),
            torch.compiler.set_stance("force_eager"),  # not worth graphs of other sizes
        ):
            return validate(
                backbone=self.objective.measured(),
                source=source,
                clips=config.clips,
                batch_size=self.recipe.batch_size,
                accelerator=self.accelerator,
                show=sample_film(out, step),
                shown=config.shown,
                fps=clip.fps or 8,
            )

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs but the data's position, which is the step."""
        state = gathered(self.objective, self.optimizers, self.ema, without=LPIPS)
        state[VAE] = full_state(self.backbone.vae, self.ema, self._trained_weights())
        return state if self.adversary is None else state | self.adversary.state()

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Write a :meth:`state`; the model and its masking load by themselves."""
        self.backbone.save_config(folder / VAE)
        write_tensors(state[VAE], folder / VAE / SAFETENSORS_WEIGHTS_NAME)
        if self._masking is not None:
            (token,) = (x for name, x in state[MODEL].items() if name.endswith("lmr.token"))
            self._masking.save(folder / MASKING, token)
        write(state, folder)
        if self.adversary is not None:
            self.adversary.save(folder, state)

    def load(self, folder: Path) -> None:
        """Take up the state that :meth:`save` wrote."""
        named = self.backbone.vae.named_parameters()
        load(
            folder,
            self.objective,
            self.optimizers,
            self.ema,
            {name: weight for name, weight in named if weight.requires_grad},
            {"": folder / VAE / SAFETENSORS_WEIGHTS_NAME},
            without=LPIPS,
        )
        if self.adversary is not None:
            self.adversary.load(folder)

    @property
    def _masking(self) -> LatentMasking | None:
        """Whose token is saved beside the model; None of students."""
        objective = self.objective
        return objective.regularization.masking if isinstance(objective, Objective) else None

    def _clips(self) -> list[Source]:
        """What the model learns from, in turn."""
        recipe, objective = self.recipe, self.objective
        if isinstance(recipe, DistilRecipe) and recipe.latents is not None:
            assert isinstance(objective, Distillation)
            return [cached_clips(recipe, objective.teacher, self.accelerator.device)]
        clip = recipe.clip
        return [self._source(recipe.data, clip.frames, recipe.seed, n) for n in clip.multiples]

    def _source(self, name: str, frames: int, seed: int, multiple: int = 1) -> Source:
        """A source, which is opened once."""
        key = name, frames, seed, multiple
        if key not in self._sources:
            clip, device = self.recipe.clip, self.accelerator.device
            size = frames, multiple * clip.height, multiple * clip.width
            channels = self.backbone.clip_channels
            self._sources[key] = open_source(
                name, *size, clip.fps, seed, device, self.recipe.max_broken, channels
            )
        return self._sources[key]

    def _mean(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.accelerator.reduce(x, "mean")
        assert isinstance(mean, torch.Tensor)
        return mean

    def _trained_weights(self) -> list[torch.nn.Parameter]:
        return [p for p in self.backbone.vae.parameters() if p.requires_grad]
