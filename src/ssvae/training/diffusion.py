"""Training a video diffusion model on cached latents: the settings, the loss, and one step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_model, save_model
from torch import nn

from ssvae.data.seeds import generator_of
from ssvae.diffusion.conditioning import (
    CaptionEmbeddings,
    TextConfig,
    embed,
    tokenize,
    width_of,
    word_level_encoder,
)
from ssvae.diffusion.flow import BINS, draw_times, loss_by_time, noisy, shift_for
from ssvae.diffusion.latents import LatentCache
from ssvae.diffusion.mapped import load_map, save_map
from ssvae.diffusion.pipeline import PipelineConfig
from ssvae.diffusion.transformer import PooledWanTransformer3DModel
from ssvae.training.optimizers import set_rates, transformer_optimizers
from ssvae.training.step import averaged, update, warmup_cooldown


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a :class:`PooledWanTransformer3DModel`; channels follow from the latents."""

    layers: int = 4
    """Transformer blocks."""
    heads: int = 2
    """Attention heads."""
    head_dim: int = 64
    """Width of a head; the model's is heads times this."""
    ffn_dim: int = 512
    """Width inside the feed-forward layers."""
    patch_size: tuple[int, int, int] = (1, 1, 1)
    """Latent frames, rows and columns that make a token."""
    freq_dim: int = 256
    """Sines and cosines that tell the time."""

    def problems(self) -> list[str]:
        """All that is wrong with it; empty where nothing is."""
        wrong = [
            f"model.{name} must be at least 1, got {getattr(self, name)}"
            for name in ("layers", "heads", "head_dim", "ffn_dim", "freq_dim")
            if getattr(self, name) < 1
        ]
        if self.head_dim % 2 or self.head_dim < 6:
            wrong.append(f"model.head_dim must be even and at least 6, got {self.head_dim}")
        if min(self.patch_size) < 1:
            wrong.append(f"model.patch_size must be positive, got {self.patch_size}")
        return wrong


@dataclass(frozen=True)
class DiffusionRecipe:
    """All that defines a training run of a diffusion model."""

    steps: int
    """Optimiser steps."""
    latents: str
    """A cache that ``ssvae cache-latents`` wrote."""
    map: str | None = None
    """A map of the latents that ``ssvae shape`` wrote; None standardises each channel."""
    model: TransformerConfig = field(default_factory=TransformerConfig)
    text: TextConfig = field(default_factory=TextConfig)
    seed: int = 0
    """Seed of the initial weights, the order of the data and all noise."""
    batch_size: int = 64
    """Clips a step on each process."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon (for the blocks' matrices, and AdamW for the rest), or AdamW for all."""
    learning_rate: float = 2e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = 1e-2
    """Peak learning rate of Muon."""
    warmup_steps: int = 100
    """Steps of linear warm-up, after which the rate is constant."""
    cooldown_steps: int = 0
    """Steps at the end in which the rate falls to zero in a line."""
    weight_decay: float = 0.01
    """Of both optimisers."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this length."""
    time_mean: float = 0.0
    """Mean of the logit of the times; above 0 trains more on noise."""
    time_std: float = 1.0
    """Standard deviation of the logit of the times."""
    shift: float | None = None
    """Shift of times towards noise; None takes sqrt(tokens / 1024), at least 1."""
    caption_dropout: float = 0.1
    """Share of captions that are left empty, for classifier-free guidance."""
    ema_decay: float = 0.98
    """Decay of the running mean of the weights, which is what samples."""
    checkpoint_every: int = 500
    """Steps between checkpoints; one is also written at the end."""

    def problems(self) -> list[str]:
        """All that is wrong with the settings; empty where nothing is."""
        wrong = self.model.problems() + self.text.problems()
        for name in (
            *("steps", "batch_size", "checkpoint_every", "learning_rate", "muon_learning_rate"),
            *("max_grad_norm", "time_std"),
        ):
            if getattr(self, name) <= 0:
                wrong.append(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("warmup_steps", "cooldown_steps", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                wrong.append(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("caption_dropout", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                wrong.append(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.cooldown_steps >= self.steps > 0:
            wrong.append(
                f"cooldown_steps must be less than steps ({self.steps}), got {self.cooldown_steps}"
            )
        if self.optimizer not in ("muon", "adamw"):
            wrong.append(f"optimizer must be muon or adamw, got {self.optimizer!r}")
        if self.shift is not None and self.shift <= 0:
            wrong.append(f"shift must be positive, got {self.shift}")
        if self.map is not None and not Path(self.map).is_file():
            wrong.append(f"there is no map at {self.map}: ssvae shape writes one")
        try:
            cache = LatentCache(self.latents)
            if not wrong:
                self.tokens(cache.shape)
        except ValueError as error:
            wrong.append(str(error))
        return wrong

    def tokens(self, latent_shape: Sequence[int]) -> int:
        """Tokens that a clip's latents (C, T, H, W) make."""
        tokens = 1
        for side, patch in zip(latent_shape[1:], self.model.patch_size, strict=True):
            if side % patch:
                raise ValueError(
                    f"model.patch_size {self.model.patch_size} does not divide the latents' "
                    f"frames, rows and columns {tuple(latent_shape[1:])}"
                )
            tokens *= side // patch
        return tokens

    def shift_of_times(self, latent_shape: Sequence[int]) -> float:
        """The shift, that of the token count where none is set."""
        return self.shift if self.shift is not None else shift_for(self.tokens(latent_shape))

    def build(self, channels: int, text_width: int) -> PooledWanTransformer3DModel:
        """The transformer with fresh weights."""
        m = self.model
        return PooledWanTransformer3DModel(
            patch_size=m.patch_size,
            num_attention_heads=m.heads,
            attention_head_dim=m.head_dim,
            in_channels=channels,
            out_channels=channels,
            text_dim=text_width,
            freq_dim=m.freq_dim,
            ffn_dim=m.ffn_dim,
            num_layers=m.layers,
            cross_attn_norm=True,
        )

    def parameters(self) -> int:
        """Number of parameters that are trained."""
        channels, own = LatentCache(self.latents).shape[0], self.text.encoder is None
        width = self.text.width if own else width_of(str(self.text.encoder))
        with torch.device("meta"):
            parts: list[nn.Module] = [self.build(channels, width)]
            if own:
                parts.append(word_level_encoder(self.text)[1])
        return sum(p.numel() for part in parts for p in part.parameters())

    def settled(
        self, before: dict[str, Any] | None
    ) -> "tuple[DiffusionRecipe, dict[str, Any] | None]":
        """As they are: nothing is left open."""
        return self, before

    def trainer(self, accelerator: Accelerator) -> "DiffusionTrainer":
        """What the loop drives."""
        return DiffusionTrainer(self, accelerator)


@dataclass(frozen=True)
class LatentBatch:
    """Standardised latents (B, C, T, H, W), with a caption each."""

    latents: torch.Tensor
    captions: list[str]


class FlowObjective(nn.Module):
    """The transformer, a text encoder if it is trained along, and the loss of flow matching."""

    def __init__(
        self, transformer: PooledWanTransformer3DModel, text_encoder: nn.Module | None, shift: float
    ):
        super().__init__()
        self.transformer, self.text_encoder, self.shift = transformer, text_encoder, shift

    def forward(
        self,
        x: torch.Tensor,
        text: tuple[torch.Tensor, ...],
        times: tuple[float, float],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and text to the loss of each clip and its time, both (B,).

        ``text`` is token ids and their mask where the encoder is trained along, else embeddings
        alone; ``times`` are mean and deviation of the logit of the times.
        """
        t = draw_times(len(x), *times, self.shift, generator)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        embeddings = text[0] if self.text_encoder is None else embed(self.text_encoder, *text)
        (velocity,) = self.transformer(
            hidden_states=noisy(x, noise, t),
            timestep=t * 1000,
            encoder_hidden_states=embeddings,
            return_dict=False,
        )
        return (velocity.float() - (noise - x)).square().flatten(1).mean(1), t


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
            if accelerator.is_main_process and self._embeddings.missing:
                self._embeddings.write(device)
            accelerator.wait_for_everyone()
            width = self._embeddings.width
        transformer = recipe.build(self.cache.shape[0], width)
        shift = recipe.shift_of_times(self.cache.shape)
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
        for step in range(first_step, last_step + 1):
            start = ((step - 1) * processes + share) * size
            indices = [order[position] for position in range(start, start + size)]
            latents = self.cache.latents(indices).to(self.accelerator.device)
            yield LatentBatch(self.map(latents), [captions[i] for i in indices])

    def step(self, step: int, batch: LatentBatch) -> dict[str, float]:
        """One update, its terms averaged over processes; see :func:`ssvae.training.step.update`."""
        recipe, accelerator = self.recipe, self.accelerator
        share = warmup_cooldown(step, recipe.warmup_steps, recipe.steps, recipe.cooldown_steps)
        set_rates(self.optimizers, share)
        # All randomness of a step follows from (seed, process, step), so none is ever saved.
        process, device = accelerator.process_index, accelerator.device
        generator = generator_of(recipe.seed, process, step, device=device)
        drop = torch.rand(len(batch.captions), generator=generator, device=generator.device)
        captions = [
            "" if u < recipe.caption_dropout else caption
            for u, caption in zip(drop.tolist(), batch.captions, strict=True)
        ]
        losses, times = self._wrapped(
            batch.latents, self._text(captions), (recipe.time_mean, recipe.time_std), generator
        )
        loss = losses.mean()
        grad_norm = update(accelerator, self._wrapped, self.optimizers, loss, recipe.max_grad_norm)
        if torch.isfinite(grad_norm):
            self.ema.step(self.parameters)
        terms = averaged(accelerator, dict(loss=loss, grad_norm=grad_norm))
        sums = accelerator.reduce(loss_by_time(losses.detach(), times), "sum")
        by_time = (sums[0] / sums[1]).tolist()  # type: ignore[index]
        names = [f"loss_t{(i + 0.5) / BINS:.1f}" for i in range(BINS)]
        return (
            terms
            | dict(zip(names, by_time, strict=True))
            | {"learning_rate": share * recipe.learning_rate}
        )

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
            return (self._embeddings.embeddings(captions).to(device),)
        for caption in set(captions) - set(self._tokens):
            ids, mask = tokenize(self.tokenizer, [caption])
            self._tokens[caption] = ids[0], mask[0]
        rows = [self._tokens[caption] for caption in captions]
        padded = [
            nn.utils.rnn.pad_sequence(list(x), batch_first=True) for x in zip(*rows, strict=True)
        ]
        return tuple(x.to(device) for x in padded)


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
