"""What a regulariser tells of itself, and all that there are: a file of this package each.

Such a file holds a settings class, a module over tensors, and where in a training step the module
takes part. Recipes, command-line options, the table of the docs and the benchmark's variants
follow from it.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from ssvae.regularizers.balance import Reduce
from ssvae.regularizers.draws import Draws

__all__ = ["Decoded", "Hooks", "LatentSpec", "RegularizerConfig", "Term", "Watch", "registered"]


class LatentSpec(NamedTuple):
    """What a regulariser may ask of the latents of a VAE."""

    channels: int
    time_factor: int
    """Frames a latent frame stands for."""
    space_factor: int
    """Pixels a side that a latent stands for."""
    lone_first_frame: bool
    """Whether the first latent frame stands for one frame of video alone."""


class Decoded(NamedTuple):
    """A step when all is decoded, for the terms of its loss."""

    clips: torch.Tensor
    """(B, C, T, H, W)."""
    mean: torch.Tensor
    """Of the posterior, (B, C, t, h, w)."""
    z: torch.Tensor
    """Its sample, before any regulariser changed it."""
    reconstruction: torch.Tensor
    target: torch.Tensor
    """What the reconstruction is compared with: the clips, or what the pair's hook made of them."""
    draws: Draws
    error_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """The reconstruction loss of the decodings of latents beside clips."""
    mean_of: Callable[[torch.Tensor], torch.Tensor]
    """The posterior's mean of clips, with its gradient."""


class Term(NamedTuple):
    """A part of the loss."""

    weight: float
    value: torch.Tensor
    """A scalar, without the weight."""


Scalars = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Hooks:
    """Where a regulariser takes part in a training step: clip -> posterior -> pair -> latents ->
    terms.

    It leaves out what it has no part in.
    """

    module: nn.Module
    """What it is; its parameters are trained along."""
    clip: Callable[[torch.Tensor, Draws], torch.Tensor] | None = None
    """Clips (B, C, T, H, W) to what the encoder sees."""
    penalty: Callable[[torch.Tensor, Reduce | None], tuple[torch.Tensor, Scalars]] | None = None
    """The posterior's mean (B, C, t, h, w), or (B, C, h, w) of images, to a scalar, which is
    weighed against the reconstruction's gradient (:func:`balance`), and what ``monitor`` would
    give."""
    balanced_weight: float = 0.0
    """Of the penalty."""
    pair: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None
    """(latents, clips, draws) to latents to decode and clips to compare with."""
    latents: Callable[[torch.Tensor, Draws], torch.Tensor] | None = None
    """Latents to what the decoder is given."""
    terms: Callable[[Decoded], Mapping[str, Term]] | None = None
    """Terms of the loss."""
    monitor: Callable[[torch.Tensor, Reduce | None], Scalars] | None = None
    """The posterior's mean to scalars for the log, whether the regulariser is enabled or not."""


@dataclass(frozen=True, kw_only=True)
class RegularizerConfig(ABC):
    """The settings of a regulariser, by default those of its paper."""

    enabled: bool = False
    """Whether it takes part in training."""

    NAME: ClassVar[str]
    """The field of a recipe, and the variant of a benchmark."""
    TITLE: ClassVar[str]
    """What papers call it."""
    PAPER: ClassVar[str]
    """Its number at arXiv."""
    SUMMARY: ClassVar[str]
    """What it does, for a table."""
    ORDER: ClassVar[int] = 0
    """Where several hook into one place, the lower comes first."""
    SHAPES_LATENTS: ClassVar[bool] = False
    """Whether it acts on the encoder alone, and so does nothing where that is frozen."""
    IS_JUDGED: ClassVar[bool] = False
    """Whether the discriminators see clips of its :attr:`smallest_scale`."""

    @abstractmethod
    def hooks(self, latents: LatentSpec) -> Hooks:
        """Its part in the training of a VAE with such latents; a ValueError for settings that are
        wrong.
        """

    def check(self, mean: torch.Tensor, latents: LatentSpec) -> None:  # noqa: B027 (most suit all)
        """A ValueError where posterior means of this shape, on the meta device, do not suit it."""

    @property
    def smallest_scale(self) -> float:
        """The share of a clip's side that what it compares has at least."""
        return 1.0

    def watch(self, steps: int, warmup_steps: int) -> "Watch | None":
        """What looks at a run's log for signs that the settings have no effect."""
        return None


class Watch:
    """Looks at the log of a run."""

    def hear(self, step: int, scalars: Mapping[str, torch.Tensor]) -> str | None:
        """Take a step's scalars, of steps that count from 1; what to warn of, or None."""
        return None


@cache
def registered() -> Mapping[str, type[RegularizerConfig]]:
    """The settings class of each regulariser of this package, by name, in the order of their
    hooks.
    """
    package = __name__.rpartition(".")[0]
    folder = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{m.name}") for m in pkgutil.iter_modules(folder)]
    found = {
        value.NAME: value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, RegularizerConfig)
        and value is not RegularizerConfig
    }
    ordered = sorted(found.items(), key=lambda pair: (pair[1].ORDER, pair[0]))
    return MappingProxyType(dict(ordered))


def enabled(recipe: Any) -> dict[str, RegularizerConfig]:
    """The regularisers of a recipe that take part."""
    return {name: getattr(recipe, name) for name in registered() if getattr(recipe, name).enabled}
