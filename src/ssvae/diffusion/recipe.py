"""The settings of a training run of a diffusion model: data, which knows nothing of what it sets
up.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ssvae.models.names import FACTORY
from ssvae.storage.problems import Problems

Normalization = Literal["standardised", "global", "principal", "whitened"]
"""How channels can be scaled: see ssvae.latents.maps.MapConfig."""
STUDENT, TEACHER = 8 / 28, 16 / 28
"""Depths of the blocks that LayerSync was published with; REPA's is the former."""


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
    prediction: Literal["velocity", "sample"] = "velocity"
    """What the layers make: the velocity, or the data, from which the velocity follows."""

    def note(self, problems: Problems) -> None:
        """Note all that is wrong with it."""
        problems.at_least_1(self, "layers", "heads", "head_dim", "ffn_dim", "freq_dim", of="model.")
        problems.require(
            self.head_dim % 2 == 0 and self.head_dim >= 6,
            f"model.head_dim must be even and at least 6, got {self.head_dim}",
        )
        problems.require(
            min(self.patch_size) >= 1, f"model.patch_size must be positive, got {self.patch_size}"
        )
        problems.one_of(self, "prediction", ("velocity", "sample"), of="model.")


@dataclass(frozen=True)
class TextConfig:
    """The text encoder."""

    encoder: str | None = None
    """A transformers text encoder by name or path (google/umt5-xxl), kept frozen; where None, a
    small T5 on hashed words is trained along."""
    buckets: int = 4096
    """Places that words are hashed into, for the encoder that is trained along."""
    width: int = 64
    """Its width."""
    layers: int = 1
    """Its layers; 0 embeds words by themselves, without their order."""
    heads: int = 4
    """Its attention heads."""

    def note(self, problems: Problems) -> None:
        """Note all that is wrong with it."""
        problems.at_least_1(self, "buckets", "width", "heads", of="text.")
        problems.at_least_0(self, "layers", of="text.")
        problems.require(
            self.heads < 1 or self.width % self.heads == 0,
            f"text.width must be a multiple of text.heads, got {self.width} and {self.heads}",
        )


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is added to flow matching; by default nothing."""

    pairing: Literal["independent", "optimal-transport"] = "independent"
    """How noise is dealt to the clips of a batch: as it comes, or the nearest to each (arXiv
    2302.00482)."""
    time_weight: Literal["uniform", "min-snr"] = "uniform"
    """Weight of the error at each time: none, or Min-SNR's (arXiv 2303.09556)."""
    gamma: float = 5.0
    """Of Min-SNR."""
    contrastive: float = 0.0
    """Weight of the distance from another clip's velocity, which is made large (contrastive flow
    matching, arXiv 2506.05350; .05 there)."""
    layer_sync: float = 0.0
    """Weight of LayerSync (arXiv 2510.12581), which pulls an early block towards a later one."""
    student: int | None = None
    """The early block, from 1; None takes the published depth."""
    teacher: int | None = None
    """The later block."""

    def note(self, problems: Problems, layers: int) -> None:
        """Note all that is wrong with it, for a model of so many layers."""
        problems.one_of(self, "pairing", ("independent", "optimal-transport"), of="objective.")
        problems.one_of(self, "time_weight", ("uniform", "min-snr"), of="objective.")
        problems.positive(self, "gamma", of="objective.")
        problems.at_least_0(self, "layer_sync", of="objective.")
        problems.below_1(self, "contrastive", of="objective.")
        if self.layer_sync:
            with problems.of("objective"):
                self.blocks(layers)

    def blocks(self, layers: int) -> tuple[int, int]:
        """Student and teacher among so many layers, from 1; a ValueError where they are no pair."""
        first = max(1, round(STUDENT * layers)) if self.student is None else self.student
        later = max(first + 1, round(TEACHER * layers)) if self.teacher is None else self.teacher
        if not 1 <= first < later <= layers:
            raise ValueError(
                "student and teacher are blocks from 1 to the model's layers, the student first, "
                f"got {first} and {later} of {layers}"
            )
        return first, later


@dataclass(frozen=True)
class RepaConfig:
    """REPA (arXiv 2410.06940): a teacher's features of the clean clip for an early block's
    tokens."""

    teacher: str | None = None
    """encoder (the VAE's own), dino:NAME or vjepa:NAME of transformers, or a function of yours,
    file.py:function, that returns clips to features; None is none."""
    weight: float = 0.5
    """Beside the velocity's error."""
    block: int | None = None
    """The block whose tokens they are, from 1; None takes the published depth."""

    def note(self, problems: Problems, layers: int) -> None:
        """Note all that is wrong with it, for a model of so many layers."""
        problems.positive(self, "weight", of="repa.")
        problems.require(
            1 <= self.of(layers) <= layers,
            f"repa.block must be a block from 1 to the model's {layers}, got {self.block}",
        )
        kind, _, name = (self.teacher or "encoder").partition(":")
        own = kind != "encoder" and FACTORY.fullmatch(self.teacher or "") is not None
        problems.require(
            kind == "encoder" if not name else kind in ("dino", "vjepa") or own,
            "repa.teacher must be encoder, dino:NAME_OR_FOLDER, vjepa:NAME_OR_FOLDER, or "
            f"file.py:function, got {self.teacher}",
        )

    def of(self, layers: int) -> int:
        """The block, of so many."""
        return max(1, round(STUDENT * layers)) if self.block is None else self.block


@dataclass(frozen=True)
class DiffusionRecipe:
    """All that defines a training run of a diffusion model."""

    steps: int
    """Optimiser steps."""
    latents: str
    """A cache that ``ssvae cache-latents`` wrote."""
    map: str | None = None
    """A map of the latents that ``ssvae fit-map`` wrote; None fits one, as ``normalization``
    says."""
    normalization: Normalization = "standardised"
    """Where no map is given: each channel to variance 1; as they are, under one scale; principal
    components under one scale; or principal components of variance 1 each."""
    model: TransformerConfig = field(default_factory=TransformerConfig)
    text: TextConfig = field(default_factory=TextConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    repa: RepaConfig = field(default_factory=RepaConfig)
    condition: Literal["caption", "first-frame"] = "caption"
    """What clips are made from: captions; or, for half of them, the first frame too (image to
    video, for causal VAEs)."""
    init: str | None = None
    """A diffusion run or checkpoint to start from, instead of random weights: its EMA, and its map
    of latents where ``map`` is None and they are of one VAE. Its patches may be larger."""
    seed: int = 0
    """Seed of the initial weights, the order of the data and all noise."""
    batch_size: int = 64
    """Clips a batch on each process."""
    accumulate: int = 1
    """Batches a step, on each process."""
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
    """Decay of the EMA of the weights, which is what samples."""
    snapshots_every: int = 0
    """Steps between snapshots of two more EMAs, of which ssvae average makes one of any
    length after the run; 0 keeps none."""
    gradient_checkpointing: bool = False
    """Compute activations twice, to keep few in memory."""
    compile: bool = False
    """Compile the transformer's blocks, which takes up to two minutes and pays on a CPU in
    bfloat16. On a GPU they have kernels of their own, which move less."""
    checkpoint_every: int = 500
    """Steps between checkpoints; one is also written at the end."""

    def problems(self) -> Problems:
        """All that is wrong with the settings by themselves."""
        found = Problems()
        self.model.note(found)
        self.text.note(found)
        self.objective.note(found, self.model.layers)
        self.repa.note(found, self.model.layers)
        found.positive(
            self,
            *("steps", "batch_size", "accumulate", "checkpoint_every", "learning_rate"),
            *("muon_learning_rate", "max_grad_norm", "time_std"),
        )
        found.at_least_0(
            self, "warmup_steps", "cooldown_steps", "weight_decay", "seed", "snapshots_every"
        )
        found.below_1(self, "caption_dropout", "ema_decay")
        found.require(
            self.cooldown_steps < self.steps or self.steps <= 0,
            f"cooldown_steps must be less than steps ({self.steps}), got {self.cooldown_steps}",
        )
        found.one_of(self, "optimizer", ("muon", "adamw"))
        found.one_of(self, "condition", ("caption", "first-frame"))
        found.require(
            self.condition == "caption"
            or (self.model.patch_size[0] == 1 and self.model.prediction == "velocity"),
            "condition first-frame needs model.patch_size of one latent frame and "
            f"model.prediction velocity, got {self.model.patch_size} and {self.model.prediction}",
        )
        found.one_of(self, "normalization", get_args(Normalization))
        found.require(
            not self.map or self.normalization == "standardised",
            f"normalization is for runs without a map, got {self.normalization!r} beside map "
            f"{self.map}: leave out one of them",
        )
        found.require(
            self.shift is None or self.shift > 0, f"shift must be positive, got {self.shift}"
        )
        return found

    def settled(
        self, before: dict[str, Any] | None
    ) -> tuple["DiffusionRecipe", dict[str, Any] | None]:
        """As they are: nothing is left open."""
        return self, before
