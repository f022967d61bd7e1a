"""The regularisers of a recipe, joined: each takes part where its file says."""

from collections.abc import Collection, Mapping

import torch
from torch import nn

from ssvae.regularizers.balance import Reduce
from ssvae.regularizers.draws import Draws
from ssvae.regularizers.latent_masking import LatentMasking
from ssvae.regularizers.registry import (
    Decoded,
    Hooks,
    LatentSpec,
    Term,
    Watch,
    enabled,
    registered,
)
from ssvae.vae.recipe import RegularizedRecipe, TrainingRecipe


class Regularization(nn.Module):
    """All regularisers, of which those that are enabled act, in the order of the registry.

    Those that are not are there too: what is initialised after them does not depend on which are
    enabled, so that runs which differ in them alone begin alike.
    """

    def __init__(self, recipe: RegularizedRecipe, latents: LatentSpec):
        super().__init__()
        hooks = {name: getattr(recipe, name).hooks(latents) for name in registered()}
        self.held = nn.ModuleDict({name: each.module for name, each in hooks.items()})
        self._all = hooks
        self._enabled = {n: each for n, each in hooks.items() if getattr(recipe, n).enabled}

    def idle_parameters(self) -> list[nn.Parameter]:
        """Of those that are not enabled."""
        idle = [module for name, module in self.held.items() if name not in self._enabled]
        return [parameter for module in idle for parameter in module.parameters()]

    @property
    def masking(self) -> LatentMasking:
        """LMR's module, whose token is saved beside the model."""
        (masking,) = (m for m in self.held.values() if isinstance(m, LatentMasking))
        return masking

    def clip(self, clips: torch.Tensor, draws: Draws) -> torch.Tensor:
        """What the encoder sees of clips (B, C, T, H, W)."""
        for each in self._enabled.values():
            if each.clip is not None:
                clips = each.clip(clips, draws)
        return clips

    def monitored(
        self, mean: torch.Tensor, reduce: Reduce | None, told: Collection[str]
    ) -> dict[str, torch.Tensor]:
        """Scalars of the posterior's mean for the log, of regularisers that have not ``told``."""
        found: dict[str, torch.Tensor] = {}
        for name, each in self._all.items():
            if each.monitor is not None and name not in told:
                found |= each.monitor(mean, reduce)
        return found

    def penalties(self) -> Mapping[str, Hooks]:
        """Those that are balanced against the reconstruction's gradient."""
        return {name: each for name, each in self._enabled.items() if each.penalty is not None}

    def pair(
        self, z: torch.Tensor, clips: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents to decode, and what their decoding is compared with."""
        for each in self._enabled.values():
            if each.pair is not None:
                z, clips = each.pair(z, clips, draws)
        return z, clips

    def latents(self, z: torch.Tensor, draws: Draws) -> torch.Tensor:
        """What the decoder is given."""
        for each in self._enabled.values():
            if each.latents is not None:
                z = each.latents(z, draws)
        return z

    def terms(self, decoded: Decoded) -> dict[str, Term]:
        """What they add to the loss."""
        found: dict[str, Term] = {}
        for each in self._enabled.values():
            if each.terms is not None:
                found |= each.terms(decoded)
        return found


def watches_of(recipe: TrainingRecipe) -> list[Watch]:
    """What looks at a run's log for settings that have no effect."""
    if not isinstance(recipe, RegularizedRecipe):
        return []
    watches = [c.watch(recipe.steps, recipe.warmup_steps) for c in enabled(recipe).values()]
    return [watch for watch in watches if watch is not None]
