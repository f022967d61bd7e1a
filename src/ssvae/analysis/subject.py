"""What an analysis sees of a VAE, whatever its class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ssvae.models.backbones import Backbone
from ssvae.models.classes import CLASSES, mean_of, sample_of


@dataclass(frozen=True)
class Subject:
    """A VAE under analysis: clips (B, 3, T, H, W), or of ``channels``, to latents (B, C, t, h, w)
    and back.
    """

    name: str
    """Its class."""
    module: nn.Module | None
    encode: Callable[[torch.Tensor], torch.Tensor]
    """To posterior means."""
    decode: Callable[[torch.Tensor], torch.Tensor]
    """To clips, not clamped."""
    lone_first_frame: bool
    """Whether the first latent frame stands for one frame of video."""
    channels: int = 3
    """Of its clips: see :mod:`ssvae.data.pixels`."""

    @classmethod
    def of(cls, vae: Any) -> "Subject":
        """A :class:`Backbone`, a model of a class that it knows, or one that brings its own.

        Any other needs ``encode`` and ``decode`` in diffusers' way, and is taken to be causal in
        time.
        """
        given: Any = vae  # the checker would hold it for a Backbone
        known = vae if isinstance(vae, Backbone) else None
        if known is None and type(vae).__name__ in CLASSES:
            known = Backbone(given)
        elif known is None and hasattr(vae, "backbone"):
            known = given.backbone()
        if known is not None:
            return cls(
                known.name,
                known.vae,
                lambda x: known.encode(x).mean,
                known.decode,
                known.lone_first_frame,
                known.clip_channels,
            )
        name, module = type(vae).__name__, vae if isinstance(vae, nn.Module) else None
        return cls(
            name,
            module,
            lambda x: mean_of(given, x),
            lambda z: sample_of(given, z),
            True,
        )

    def placed(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips where the weights are, in their number format."""
        weights = None if self.module is None else next(self.module.parameters(), None)
        return clips if weights is None else clips.to(weights.device, weights.dtype)

    def parameters(self, *parts: str) -> int:
        """Number of weights, of all parts or of those of these names."""
        if self.module is None:
            return 0
        return sum(
            parameter.numel()
            for name, parameter in self.module.named_parameters()
            if not parts or name.split(".")[0] in parts
        )
