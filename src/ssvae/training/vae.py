"""Training an autoencoder: the settings, the loss, and one step."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from ssvae.data.batch import Batch
from ssvae.data.loader import batches
from ssvae.data.seeds import generator_of
from ssvae.data.sources import open_source
from ssvae.losses import kl_loss, l1_loss
from ssvae.models import AutoencoderConfig, AutoencoderKLSSVAE, DiagonalGaussian
from ssvae.models.blocks import channels_last
from ssvae.regularizers import LatentMasking, balance, local_correlation
from ssvae.training.checkpoint import load_vae
from ssvae.training.step import averaged, update, warmup_cosine


@dataclass(frozen=True)
class ClipConfig:
    """The clips that the model sees."""

    frames: int = 17
    """Frames a clip, 4n + 1 at four times compression in time; 1 for images."""
    height: int = 256
    """Height in pixels."""
    width: int = 256
    """Width in pixels."""
    fps: float | None = None
    """Frames a second that videos are resampled to; None keeps each video's own."""


@dataclass(frozen=True)
class LCRConfig:
    """Local correlation regularisation."""

    weight: float = 0.002
    """Weight beside the gradient balance; 0 turns LCR off."""
    threshold: float = 0.75
    """Local correlation above which nothing is asked for."""
    window: tuple[int, int, int] = (2, 2, 2)
    """Window in latent frames, rows and columns."""


@dataclass(frozen=True)
class LMRConfig:
    """Latent masked reconstruction."""

    ratios: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    """Shares of latent blocks to mask; (0,) turns LMR off."""
    probabilities: tuple[float, ...] = (0.7, 0.1, 0.1, 0.1)
    """How often each ratio is drawn."""
    block: tuple[int, int, int] = (1, 1, 1)
    """Block in latent frames, rows and columns."""


@dataclass(frozen=True)
class VAERecipe:
    """All that defines a training run of an autoencoder."""

    steps: int
    """Optimiser steps."""
    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    lcr: LCRConfig = field(default_factory=LCRConfig)
    lmr: LMRConfig = field(default_factory=LMRConfig)
    data: str = "world"
    """Where clips come from: "world" (procedural), or a folder of videos."""
    seed: int = 0
    """Seed of the initial weights, the data and all noise."""
    batch_size: int = 16
    """Clips a step on each process."""
    learning_rate: float = 5e-5
    """Peak learning rate of Adam."""
    final_learning_rate: float = 2e-6
    """Learning rate at the start of the warm-up and at the end of the cosine."""
    warmup_steps: int = 1000
    """Steps of linear warm-up."""
    decay_steps: int | None = None
    """Step at which the cosine ends; None ends it with the run."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this length."""
    kl_weight: float = 5e-4
    """Weight of the KL divergence."""
    checkpoint_every: int = 200
    """Steps between checkpoints; one is also written at the end."""
    init: str | None = None
    """A trained model or run to start from, instead of random weights."""
    freeze_encoder: bool = False
    """Train the decoder alone: the second stage of the paper, which leaves the latents as they are."""

    def problems(self) -> list[str]:
        """All that is wrong with the settings; empty where nothing is."""
        wrong = []
        for name in ("steps", "batch_size", "checkpoint_every", "learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0:
                wrong.append(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("kl_weight", "warmup_steps", "final_learning_rate", "seed"):
            if getattr(self, name) < 0:
                wrong.append(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.lcr.weight < 0:
            wrong.append(f"lcr.weight must be at least 0, got {self.lcr.weight}")
        if self.freeze_encoder and (self.init is None or self.lcr.weight):
            wrong.append(
                "freeze_encoder leaves the latents as they are: give init, a trained model, and "
                f"lcr.weight 0, got init {self.init} and lcr.weight {self.lcr.weight}"
            )
        if self.clip.fps is not None and self.clip.fps <= 0:
            wrong.append(f"clip.fps must be positive, got {self.clip.fps}")
        try:
            with torch.device("meta"):
                vae = AutoencoderKLSSVAE(**vars(self.model))
                VAEObjective(vae, self)
                clip = self.clip.frames, self.clip.height, self.clip.width
                latents = vae.encode(torch.zeros(1, 3, *clip)).latent_dist.mean
                local_correlation(latents, self.lcr.window)
        except ValueError as error:
            wrong.append(str(error))
        return wrong

    def parameters(self) -> int:
        """Number of parameters of the model."""
        with torch.device("meta"):
            return sum(p.numel() for p in AutoencoderKLSSVAE(**vars(self.model)).parameters())

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine; ``step`` counts from 1."""
        end = self.decay_steps or self.steps
        rates = self.learning_rate, self.final_learning_rate
        return warmup_cosine(step, *rates, self.warmup_steps, end)

    def trainer(self, accelerator: Accelerator) -> "VAETrainer":
        """What the loop drives."""
        return VAETrainer(self, accelerator)


class VAEObjective(nn.Module):
    """Autoencoder, masking and penalty, and the loss that joins them."""

    def __init__(self, vae: AutoencoderKLSSVAE, recipe: VAERecipe):
        super().__init__()
        self.vae = vae
        self.masking = LatentMasking(
            vae.config["z_dim"], recipe.lmr.ratios, recipe.lmr.probabilities, recipe.lmr.block
        )
        self.lcr, self.kl_weight = recipe.lcr, recipe.kl_weight
        self.vae.encoder.requires_grad_(not recipe.freeze_encoder)
        self.frozen = recipe.freeze_encoder

    def forward(
        self, clips: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Clips (B, 3, T, H, W) to the loss to differentiate and its terms.

        LCR is not in that loss but enters through :func:`balance`, which adds ``lcr_weight`` to
        the terms in the backward pass. Local correlation is a term with LCR on or off.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            posterior = self.vae.encode(clips).latent_dist
        moments, terms = posterior.parameters, {}

        def penalty(moments: torch.Tensor) -> torch.Tensor:
            correlation = local_correlation(moments.chunk(2, 1)[0], self.lcr.window).average
            terms["local_correlation"] = correlation.detach()
            return torch.relu(self.lcr.threshold - correlation)

        if self.lcr.weight:
            moments = balance(
                moments,
                lambda m: terms.setdefault("lcr", penalty(m)),
                self.vae.encoder.conv_out,
                self.lcr.weight,
                on_weight=lambda weight: terms.update(lcr_weight=weight),
            )
        else:
            penalty(moments.detach())
        z = self.masking(DiagonalGaussian(moments).sample(generator), generator)
        terms["l1"] = l1_loss(self.vae.decode(z).sample, clips)
        terms["kl"] = kl_loss(posterior, clips)
        return terms["l1"] + self.kl_weight * terms["kl"], terms


def _initial_weights(path: str, vae: AutoencoderKLSSVAE) -> dict[str, torch.Tensor]:
    """The weights of a trained model, which must have the shape of ``vae``."""
    trained = load_vae(path)
    other = [
        f"{name} is {trained.config[name]} there and {vae.config[name]} here"
        for name in vars(AutoencoderConfig())
        if not name.startswith("latents_")
        and _plain(trained.config[name]) != _plain(vae.config[name])
    ]
    if other:
        raise ValueError(
            f"the model in {path} has another shape ({'; '.join(other)}): give the same --model options"
        )
    return trained.state_dict()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


class VAETrainer:
    """An autoencoder in training: the model, its optimiser, and a step."""

    def __init__(self, recipe: VAERecipe, accelerator: Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        torch.manual_seed(recipe.seed)
        vae = AutoencoderKLSSVAE(**vars(recipe.model))
        if recipe.init is not None:
            vae.load_state_dict(_initial_weights(recipe.init, vae))
        objective = VAEObjective(vae, recipe).train().to(accelerator.device)
        self.objective = channels_last(objective)
        trained = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, recipe.learning_rate, fused=True)
        self._wrapped, self.optimizer = accelerator.prepare(objective, optimizer)

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """The clips of each of these steps."""
        recipe, clip, accelerator = self.recipe, self.recipe.clip, self.accelerator
        size = clip.frames, clip.height, clip.width
        source = open_source(recipe.data, *size, clip.fps, recipe.seed, accelerator.device)
        share = accelerator.process_index, accelerator.num_processes
        return batches(source, recipe.batch_size, first_step, last_step, *share)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One update, its terms averaged over processes; see :func:`ssvae.training.step.update`."""
        rate = self.recipe.learning_rate_at(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        clips = batch.video.to(self.accelerator.device, non_blocking=True)
        generator = self._generator(step)
        loss, terms = self._wrapped(clips, generator)
        grad_norm = update(
            self.accelerator, self._wrapped, self.optimizer, loss, self.recipe.max_grad_norm
        )
        if "lcr_weight" in terms and torch.isfinite(loss):
            loss = loss + terms["lcr_weight"] * terms["lcr"]
        terms = dict(loss=loss, **terms, grad_norm=grad_norm)
        return averaged(self.accelerator, terms) | {"learning_rate": rate}

    def save(self, folder: Path) -> None:
        """Write all that a resumed run needs but the data's position, which is the step."""
        self.objective.vae.save_pretrained(folder / "vae")
        self.objective.masking.save(folder / "masking.safetensors")
        torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")

    def load(self, folder: Path) -> None:
        """Take up the state that :meth:`save` wrote."""
        for file in (folder / "vae").glob("*.safetensors"):
            self.objective.vae.load_state_dict(load_file(file))
        self.objective.masking.load_state_dict(load_file(folder / "masking.safetensors"))
        state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state)

    def _generator(self, step: int) -> torch.Generator:
        """All randomness of a step follows from (seed, process, step), so none is ever saved."""
        process, device = self.accelerator.process_index, self.accelerator.device
        return generator_of(self.recipe.seed, process, step, device=device)
