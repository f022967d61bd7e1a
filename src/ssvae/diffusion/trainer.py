"""Training a video diffusion model on cached latents."""

import logging
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from ssvae.data.loader import ahead
from ssvae.diffusion.building import build, problems_of, shift_of
from ssvae.diffusion.caption_embeddings import CaptionEmbeddings
from ssvae.diffusion.flow import BINS, loss_by_time
from ssvae.diffusion.objective import FlowObjective, Losses
from ssvae.diffusion.order import BatchOrder
from ssvae.diffusion.pipeline import PipelineConfig, checkpoint_of, load_config
from ssvae.diffusion.recipe import DiffusionRecipe
from ssvae.diffusion.repa import Repa
from ssvae.diffusion.starting import WEIGHTS, take_weights, token_spacing
from ssvae.diffusion.teachers import TeacherFeatures
from ssvae.diffusion.text import encoder_fingerprint, tokenize, word_level_encoder
from ssvae.diffusion.transformer import PooledWanTransformer3DModel
from ssvae.fused import check_compiles
from ssvae.latents.buckets import LatentBuckets
from ssvae.latents.mapped import load_map, save_map
from ssvae.latents.maps import LatentMap, MapConfig
from ssvae.models.fingerprint import same_latents
from ssvae.storage.seeds import generator_of
from ssvae.training.checkpoint import write_tensors
from ssvae.training.loop import OtherDataError, check_problems, train
from ssvae.training.metrics import Ratio, StepOutcome, Value
from ssvae.training.optimizers import set_rates, transformer_optimizers
from ssvae.training.power_means import PowerMeans, write_snapshot
from ssvae.training.run_log import OnStep
from ssvae.training.schedules import warmup_cooldown
from ssvae.training.sharding import (
    check_optimizer,
    check_whole_weights,
    ema_of,
    full_state,
    prepare,
)
from ssvae.training.state import gathered, load, write
from ssvae.training.step import Part, update
from ssvae.training.tracking import Tracker
from ssvae.transfer import moved

logger = logging.getLogger(__name__)

MAP, MEANS = "map.safetensors", "means.safetensors"


@dataclass(frozen=True)
class LatentBatch:
    """Standardised latents (B, C, T, H, W), with a caption each."""

    latents: torch.Tensor
    captions: list[str]
    features: torch.Tensor | None = None
    """A teacher's, of the clean clips (B, D, T, H, W)."""


def train_diffusion(
    recipe: DiffusionRecipe,
    out: str | Path,
    accelerator: Accelerator | None = None,
    on_step: OnStep | None = None,
    tracker: Tracker | None = None,
) -> Path:
    """Train a diffusion model into the run folder ``out``, or go on; see
    :func:`ssvae.training.train`.
    """
    check_problems(problems_of(recipe))
    return train(recipe, DiffusionTrainer, out, accelerator, on_step, tracker)


class DiffusionTrainer:
    """A diffusion model in training: the model, its EMA, its optimiser, and a step."""

    def __init__(self, recipe: DiffusionRecipe, accelerator: Accelerator):
        check_optimizer(recipe.optimizer, accelerator)
        self.recipe, self.accelerator = recipe, accelerator
        device = accelerator.device
        self.cache = LatentBuckets(recipe.latents)
        start = None if recipe.init is None else checkpoint_of(recipe.init)
        self.map = self._map_of(start).to(device)
        if recipe.map:
            self.map(self.cache.latents([0]).to(device))  # a map for other latents stops here
            if not same_latents(self.map.encoder, self.cache.config.encoder):
                raise ValueError(
                    f"the map {recipe.map} is of another VAE's latents ({self.map.encoder}) than "
                    f"the cache in {recipe.latents} ({self.cache.config.encoder}): fit one to the "
                    "cache (ssvae fit-map)"
                )
        empty = sum(not caption.strip() for caption in self.cache.each_caption())
        if empty and accelerator.is_main_process:
            message = "%d of %d captions in %s are empty: what they show is learned without words"
            logger.warning(message, empty, len(self.cache), self.cache.path)
        torch.manual_seed(recipe.seed)
        self.tokenizer: Any = None
        self._tokens: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        encoder, self._embeddings = None, None
        if recipe.text.encoder is None:
            self.tokenizer, encoder = word_level_encoder(recipe.text)
            width = recipe.text.width
        else:
            self._embeddings = CaptionEmbeddings(
                self.cache.path, recipe.text.encoder, self.cache.each_caption()
            )
            self._embeddings.write(accelerator)
            width = self._embeddings.width
        spacing = token_spacing(start, recipe.model.patch_size)
        transformer = build(recipe, self.cache.shapes[0][0], width, spacing)
        if recipe.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        if recipe.compile:
            check_compiles(device)
            transformer.compile_repeated_blocks()
        shift = shift_of(recipe, self.cache)
        self.teacher, repa = self._repa(transformer)
        self.objective = FlowObjective(
            transformer,
            encoder,
            shift,
            recipe.objective,
            repa,
            recipe.repa.weight,
            first_frame=recipe.condition == "first-frame",
        )
        self.objective.train().to(device)
        if start is not None:
            take_weights(self.objective, start)
        optimizers = transformer_optimizers(
            transformer.blocks,
            self.objective.parameters(),
            recipe.optimizer,
            muon_learning_rate=recipe.muon_learning_rate,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        self._wrapped, *self.optimizers = prepare(accelerator, self.objective, *optimizers)
        self.ema = ema_of(self.objective.parameters(), recipe.ema_decay, device)
        self.means = None
        if recipe.snapshots_every:
            check_whole_weights("snapshots of EMAs", accelerator)
            self.means = PowerMeans(self.objective.parameters())

    def batches(self, first_step: int, last_step: int) -> Generator[tuple[LatentBatch, ...]]:
        """The batches of each of these steps; every clip once an epoch, in a new order each."""
        recipe, process = self.recipe, self.accelerator.process_index
        order = BatchOrder(
            recipe.seed, self.cache.counts, recipe.batch_size, self.accelerator.num_processes
        )
        parts = recipe.accumulate
        on_gpu = self.accelerator.device.type == "cuda"

        def read(number: int) -> LatentBatch:
            indices = order.indices(number, process)
            tensors = [self.cache.latents(indices)]
            if self.teacher is not None:
                tensors.append(self.teacher.features(indices))
            held = [x.pin_memory() if on_gpu else x for x in tensors]
            return LatentBatch(held[0], self.cache.captions_of(indices), *held[1:])

        numbers = range((first_step - 1) * parts, last_step * parts)
        # One thread: the order is read from one epoch to the next. On a CPU it would take the
        # cores.
        stream = iter(ahead(read, numbers, 1) if on_gpu else map(read, numbers))
        while some := tuple(islice(stream, parts)):
            yield tuple(map(self._on_device, some))

    def _on_device(self, batch: LatentBatch) -> LatentBatch:
        """Latents under the map."""
        device, features = self.accelerator.device, batch.features
        return LatentBatch(
            self.map(moved(batch.latents, device)),
            batch.captions,
            None if features is None else moved(features, device),
        )

    def step(self, step: int, batch: tuple[LatentBatch, ...], signal: int = 0) -> StepOutcome:
        """One update; see :func:`ssvae.training.step.update`."""
        recipe, accelerator = self.recipe, self.accelerator
        share = warmup_cooldown(step, recipe.warmup_steps, recipe.steps, recipe.cooldown_steps)
        set_rates(self.optimizers, share)
        found = list[Losses]()
        for number, part in enumerate(batch):
            last = number == len(batch) - 1
            with nullcontext() if last else accelerator.no_sync(self._wrapped):
                losses = self._losses(part, step, number)
                accelerator.backward(losses.total.mean())
            found.append(losses)
        of_all = torch.cat([losses.flow.detach() for losses in found])
        loss = of_all.mean()
        longest = recipe.max_grad_norm
        sound = torch.isfinite(torch.stack([losses.total.detach().mean() for losses in found]))
        part = Part(self._wrapped, self.optimizers, longest, sound.all())
        (norm,), (updated,), signal = update(accelerator, [part], 1 / len(batch), signal)
        if updated:
            self.ema.step(self.objective.parameters())
            if self.means is not None:
                self.means.update(self.objective.parameters(), step)
        metrics: dict[str, Value] = dict(loss=loss, grad_norm=norm)
        for name in found[0].added:
            metrics[name] = torch.cat([losses.added[name].detach() for losses in found]).mean()
        totals, counts = loss_by_time(of_all, torch.cat([losses.times for losses in found]))
        for i in range(BINS):
            metrics[f"loss_t{(i + 0.5) / BINS:.1f}"] = Ratio(totals[i], counts[i])
        metrics["learning_rate"] = share * recipe.learning_rate
        return StepOutcome(metrics, updated, signal)

    def _losses(self, batch: LatentBatch, step: int, number: int) -> Losses:
        """The loss of each clip of a step's batch of this number."""
        recipe, process = self.recipe, self.accelerator.process_index
        device = self.accelerator.device
        # All randomness of a step follows from these, so none is ever saved.
        entropy = (recipe.seed, process, step) + ((number,) if number else ())
        generator = generator_of(*entropy, device=device)
        # The host asks for these, and should not wait for a GPU.
        on_host = generator if device.type == "cpu" else generator_of(*entropy)
        drop = torch.rand(len(batch.captions), generator=on_host)
        captions = [
            "" if u < recipe.caption_dropout else caption
            for u, caption in zip(drop.tolist(), batch.captions, strict=True)
        ]
        moments = recipe.time_mean, recipe.time_std
        with self.accelerator.autocast():  # which accelerate leaves out under FSDP
            text = self._text(captions)
            return self._wrapped(batch.latents, text, moments, generator, batch.features)

    def validate(self, step: int, out: Path) -> dict[str, float]:
        """None: its clips are scored by ``ssvae bench``, after the run. Snapshots of means are
        written here.
        """
        main = self.accelerator.is_main_process
        if main and self.means is not None and step % self.recipe.snapshots_every == 0:
            write_snapshot(out, step, self.means.tensors(self._names))
        return {}

    @property
    def _names(self) -> list[str]:
        """Of all weights."""
        return [name for name, _ in self.objective.named_parameters()]

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs but the data's position, which is the step."""
        state = gathered(self.objective, self.optimizers, self.ema)
        for name, part in self.objective.named_children():
            state[name] = full_state(part, self.ema, self.objective.parameters())
        if self.means is not None:
            state[MEANS] = self.means.tensors(self._names)
        return state

    def save(self, folder: Path, state: dict[str, Any]) -> None:
        """Write a :meth:`state`: the EMA as models that load by themselves, and the
        rest.
        """
        self.objective.transformer.save_config(folder / "transformer")
        write_tensors(state["transformer"], folder / "transformer" / WEIGHTS["transformer"])
        if self.objective.text_encoder is not None:
            config: Any = self.objective.text_encoder.config
            config.save_pretrained(folder / "text_encoder")
            write_tensors(state["text_encoder"], folder / "text_encoder" / WEIGHTS["text_encoder"])
            self.tokenizer.save_pretrained(folder / "tokenizer")
        if "repa" in state:
            (folder / "repa").mkdir()
            write_tensors(state["repa"], folder / "repa" / WEIGHTS["repa"])
        if MEANS in state:
            write_tensors(state[MEANS], folder / MEANS)
        save_map(self.map, folder / MAP)
        cache, recipe = self.cache.config, self.recipe
        PipelineConfig(
            frames=cache.frames,
            height=cache.height,
            width=cache.width,
            fps=cache.fps,
            shift=self.objective.shift,
            vae=self.cache.vae,
            text_encoder=recipe.text.encoder,
            data=cache.data,
            encoder=cache.encoder,
            cache=self.cache.checksum,
            text_fingerprint=encoder_fingerprint(recipe.text.encoder or ""),
            condition=recipe.condition,
        ).save(folder)
        write(state, folder)

    def load(self, folder: Path) -> None:
        """Take up the state that :meth:`save` wrote; a ValueError where cache or map are others
        now.
        """
        self._check_same_data(folder)
        parts = [name for name, _ in self.objective.named_children()]
        averages = {f"{name}.": folder / name / WEIGHTS[name] for name in parts}
        named = dict(self.objective.named_parameters())
        load(folder, self.objective, self.optimizers, self.ema, named, averages)
        if self.means is not None:
            if not (folder / MEANS).exists():
                raise ValueError(
                    f"{folder} keeps no EMAs for snapshots: begin another run with "
                    "--snapshots-every"
                )
            self.means.load(load_file(folder / MEANS), self._names)

    def _repa(
        self, transformer: PooledWanTransformer3DModel
    ) -> tuple[TeacherFeatures | None, Repa | None]:
        """A teacher's features of the cache's clips, and what compares them with a block's
        tokens.
        """
        config, model = self.recipe.repa, self.recipe.model
        if config.teacher is None:
            return None, None
        with torch.random.fork_rng(devices=[]):  # whose weights may be drawn before they are read
            features = TeacherFeatures(self.cache.caches[0], config.teacher)
            features.write(self.accelerator)
        block = transformer.blocks[config.of(model.layers) - 1]
        width = model.heads * model.head_dim
        return features, Repa(block, width, features.width, model.patch_size)

    def _map_of(self, start: Path | None) -> LatentMap:
        """The recipe's map of the latents, or that of what the run starts from, or a new one."""
        recipe = self.recipe
        if recipe.map is not None:
            return load_map(recipe.map)
        if start is not None:
            held = load_map(start / MAP)
            fits = all(held.size in (None, shape[1:]) for shape in self.cache.shapes)
            if fits and same_latents(held.encoder, self.cache.config.encoder):
                if self.accelerator.is_main_process:
                    logger.info("latents are under the map of %s", start)
                return held
        return self.cache.fit(MapConfig(normalization=recipe.normalization))

    def _check_same_data(self, folder: Path) -> None:
        before = load_config(folder).cache
        if before not in ("", self.cache.checksum):
            raise OtherDataError(
                f"the cache in {self.cache.path} is not the one that the run began with: put that "
                "back, or begin another run"
            )
        held = load_map(folder / MAP)
        if self.recipe.map is None:
            self.map = held.to(self.accelerator.device)
            return
        one, other = self.map.cpu().state_dict(), held.state_dict()
        self.map.to(self.accelerator.device)
        if one.keys() != other.keys() or any(not torch.equal(one[k], other[k]) for k in one):
            raise OtherDataError(
                f"the map {self.recipe.map} is not the one that the run began with, which is kept "
                f"in {folder}: put a copy of it back, or begin another run"
            )

    def _text(self, captions: list[str]) -> tuple[torch.Tensor, ...]:
        """What the objective takes: embeddings, or token ids with their mask."""
        device = self.accelerator.device
        if self._embeddings is not None:
            return (moved(self._embeddings.embeddings(captions), device).float(),)
        for caption in set(captions) - set(self._tokens):
            ids, mask = tokenize(self.tokenizer, [caption])
            self._tokens[caption] = ids[0], mask[0]
        rows = [self._tokens[caption] for caption in captions]
        padded = [
            nn.utils.rnn.pad_sequence(list(x), batch_first=True) for x in zip(*rows, strict=True)
        ]
        return tuple(moved(x, device) for x in padded)
