"""The settings of a training run of an autoencoder: data, which knows nothing of what it sets
up.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from ssvae.models.config import AutoencoderConfig, StudentSize
from ssvae.regularizers.registry import enabled, registered
from ssvae.storage.problems import Problems
from ssvae.training.schedules import warmup_cosine


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
    multiples: tuple[int, ...] = (1,)
    """Batches of clips have these multiples of height and width, in turn."""


@dataclass(frozen=True)
class ImagesConfig:
    """Batches of images among those of clips."""

    share: float = 0.0
    """Share of batches that are of images; 0 trains on clips alone."""
    batch_size: int = 16
    """Images a batch on each process."""
    data: str | None = None
    """Where images come from; None takes the clips' own source: its images, and frames of its
    videos."""


@dataclass(frozen=True)
class PerceptualConfig:
    """LPIPS of every frame, beside L1."""

    weight: float = 0.0
    """Weight beside L1; 0 goes without, and needs no weights of VGG16."""
    vgg: str | None = None
    """A file of VGG16's weights, as torchvision names them; None fetches the public one."""
    linear: str | None = None
    """A file of the channels' weights; None takes that of the installed package lpips."""


@dataclass(frozen=True)
class GANConfig:
    """Discriminators of frames and of clips."""

    start: int | None = None
    """Steps before they begin; None goes without."""
    weight: float = 1.0
    """Weight beside the gradient balance with the reconstruction."""
    max_weight: float = 1e4
    """Bound of the balance, in units of a loss that is summed over a clip, as published."""
    channels: int = 64
    """Channels of the first layer."""
    halvings: int = 4
    """Times that space is halved."""
    time_halvings: int = 2
    """Times that time is halved, in the discriminator of clips."""
    learning_rate: float = 5e-6
    """Constant learning rate of Adam."""
    r1_weight: float = 0.0
    """Weight gamma of the R1 penalty on clips; 0 goes without."""
    lecam_weight: float = 0.0
    """Weight of LeCam regularisation; 0 goes without."""


@dataclass(frozen=True)
class ValidationConfig:
    """What is measured on clips that are not trained on."""

    every: int = 0
    """Steps between validations; 0 goes without."""
    data: str | None = None
    """Where the clips come from; None draws others from the training data."""
    clips: int = 32
    """Clips, over all processes."""
    shown: int = 4
    """Clips whose reconstructions are shown."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """What every training run of an autoencoder has, whatever it learns."""

    steps: int
    """Optimiser steps."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    gan: GANConfig = field(default_factory=GANConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    data: str = "world"
    """Where clips come from: "world" (procedural), "stills:FOLDER", videos, lists or shards; see
    ssvae.data.open_source."""
    max_broken: float = 0.5
    """Share of broken items above which the run ends."""
    workers: int | None = None
    """Threads that read files, on each process; None takes one for each core that it has. The clips
    do not depend on it."""
    seed: int = 0
    """Seed of the initial weights, the data and all noise."""
    batch_size: int = 16
    """Clips a batch on each process."""
    accumulate: int = 1
    """Batches a step, on each process."""
    optimizer: Literal["adam", "muon"] = "adam"
    """Adam for all, or Muon for the layers' weights and Adam for the rest."""
    learning_rate: float = 5e-5
    """Peak learning rate of Adam."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon; it rises and falls as Adam's does."""
    final_learning_rate: float = 2e-6
    """Learning rate at the start of the warm-up and at the end of the cosine."""
    warmup_steps: int = 1000
    """Steps of linear warm-up."""
    decay_steps: int | None = None
    """Step at which the cosine ends; None ends it with the steps that the run began with."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this length."""
    learned_variance: bool = False
    """Learn the scale of the reconstruction's error, one number."""
    ema_decay: float = 0.0
    """Decay of an EMA of the weights, which is then what is saved as the model; 0 has
    none."""
    gradient_checkpointing: bool = False
    """Compute activations twice, to keep few in memory."""
    compile: bool = False
    """Compile the model's blocks, which takes a minute or two. On a GPU ours have kernels of their
    own, which move less than those that torch would make; it is for other VAEs."""
    checkpoint_every: int = 200
    """Steps between checkpoints; one is also written at the end."""

    def problems(self) -> Problems:
        """All that is wrong with the settings by themselves."""
        found = Problems()
        found.positive(
            self,
            *("steps", "batch_size", "accumulate", "checkpoint_every", "learning_rate"),
            *("muon_learning_rate", "max_grad_norm", "images.batch_size", "validation.clips"),
            *("gan.learning_rate", "gan.channels", "gan.halvings"),
        )
        found.at_least_0(
            self,
            *("warmup_steps", "final_learning_rate", "seed", "perceptual.weight"),
            *("gan.weight", "gan.r1_weight", "gan.lecam_weight", "gan.time_halvings"),
            *("validation.every", "validation.shown"),
        )
        found.below_1(self, "images.share", "ema_decay")
        found.one_of(self, "optimizer", ("adam", "muon"))
        found.require(
            0 <= self.max_broken <= 1, f"max_broken must be in [0, 1], got {self.max_broken}"
        )
        found.require(
            self.workers is None or self.workers >= 0,
            f"workers must be at least 0, got {self.workers}",
        )
        found.require(
            min(self.clip.multiples, default=0) >= 1,
            f"clip.multiples must be numbers of at least 1, got {self.clip.multiples}",
        )
        start, fps = self.gan.start, self.clip.fps
        found.require(start is None or start >= 0, f"gan.start must be at least 0, got {start}")
        found.require(fps is None or fps > 0, f"clip.fps must be positive, got {fps}")
        return found

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine; ``step`` counts from 1."""
        end = self.decay_steps or self.steps
        rates = self.learning_rate, self.final_learning_rate
        return warmup_cosine(step, *rates, self.warmup_steps, end)

    def settled(
        self, before: dict[str, Any] | None
    ) -> tuple["TrainingRecipe", dict[str, Any] | None]:
        """The recipe, and the settings that its run began with if it did, with nothing left open.

        Where no end is given, the cosine ends with the steps that the run began with: going on for
        more would else raise the rate again.
        """
        if before is not None:
            end = before.get("decay_steps") or before["steps"]
            before = before | dict(decay_steps=end)
        else:
            end = self.steps
        return dataclasses.replace(self, decay_steps=self.decay_steps or end), before


_Regularizers: Any = dataclasses.make_dataclass(
    "_Regularizers",
    [(name, kind, field(default_factory=kind)) for name, kind in registered().items()],
    frozen=True,
    kw_only=True,
)
"""A field for each regulariser, off by default: ``lcr``, ``lmr`` and those of other papers."""


@dataclass(frozen=True, kw_only=True)
class RegularizedRecipe(TrainingRecipe, _Regularizers):
    """What a run that shapes latents has: the regularisers, and KL."""

    kl_weight: float = 5e-4
    """Weight of the KL divergence."""
    freeze_encoder: bool = False
    """Train the decoder alone: the second stage of the paper, which leaves the latents as they
    are."""

    def problems(self) -> Problems:
        """All that is wrong with the settings by themselves."""
        found = super().problems()
        found.at_least_0(self, "kl_weight")
        for name, config in enabled(self).items():
            found.require(
                not (self.freeze_encoder and config.SHAPES_LATENTS),
                f"freeze_encoder leaves the latents as they are: turn {name}.enabled off",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class VAERecipe(RegularizedRecipe):
    """All that defines a training run of our autoencoder."""

    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    init: str | None = None
    """A trained model or run to start from, instead of random weights."""

    def problems(self) -> Problems:
        """All that is wrong with the settings by themselves."""
        found = super().problems()
        found.require(
            not self.freeze_encoder or self.init is not None,
            "freeze_encoder leaves the latents as they are: give init, a trained model",
        )
        return found


@dataclass(frozen=True, kw_only=True)
class AdaptRecipe(RegularizedRecipe):
    """All that defines a run that goes on with a VAE of diffusers, or with ours."""

    model: str = ""
    """A model's folder, a run or a hub id."""
    subfolder: str | None = None
    """Where the VAE lies in it, such as "vae" in a pipeline."""

    def problems(self) -> Problems:
        """All that is wrong with the settings by themselves."""
        found = super().problems()
        found.require(bool(self.model), "model must be given: a model's folder, a run or a hub id")
        return found


@dataclass(frozen=True, kw_only=True)
class DistilRecipe(TrainingRecipe):
    """All that defines a run that trains a small model for the latents of another."""

    teacher: str = ""
    """Any VAE: a run, a model's folder, a shipped model's name or a hub id."""
    student: StudentSize = "small"
    """How large the student is; its channels and compression are the teacher's."""
    halves: Literal["both", "encoder", "decoder"] = "both"
    """What is trained; a student of one half refuses to do the other."""
    latent_weight: float = 0.01
    """Weight of the encoder's error in units of the teacher's posterior, beside the decoder's."""
    latents: str | None = None
    """A cache of the teacher's latents of the data (cache-latents --posterior moments), which
    spares encoding every clip anew; None encodes."""

    def problems(self) -> Problems:
        """All that is wrong with the settings by themselves."""
        found = super().problems()
        found.positive(self, "latent_weight")
        found.require(
            bool(self.teacher), "teacher must be given: a run, a model's folder, a name or a hub id"
        )
        found.require(
            self.latents is None or not self.images.share,
            "a cache holds clips of one length: give images.share 0, or no latents",
        )
        encodes_alone = self.halves == "encoder"
        found.require(
            not encodes_alone or self.gan.start is None,
            "gan judges what a decoder makes, and halves is encoder: leave out gan.start",
        )
        found.require(
            not encodes_alone or not self.learned_variance,
            "learned_variance is of what a decoder makes, and halves is encoder: leave it out",
        )
        return found
