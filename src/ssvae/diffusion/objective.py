"""What a diffusion model is trained on: flow matching of latents under their captions."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from ssvae.diffusion.first_frame import (
    SHARE,
    error_of_others,
    expanded,
    frame_times,
    token_times,
)
from ssvae.diffusion.flow import draw_times, min_snr_weights, nearest_noise, noisy, others
from ssvae.diffusion.layer_sync import LayerSync
from ssvae.diffusion.recipe import ObjectiveConfig
from ssvae.diffusion.repa import Repa
from ssvae.diffusion.text import embed
from ssvae.diffusion.transformer import PooledWanTransformer3DModel


class Losses(NamedTuple):
    """Of each clip, all (B,)."""

    total: torch.Tensor
    """What is minimised."""
    flow: torch.Tensor
    """Of flow matching alone: the mean squared error of the velocity."""
    times: torch.Tensor
    added: Mapping[str, torch.Tensor]
    """What else there is, without its weight."""


class FlowObjective(nn.Module):
    """The transformer, a text encoder if it is trained along, and the loss of flow matching."""

    def __init__(
        self,
        transformer: PooledWanTransformer3DModel,
        text_encoder: nn.Module | None,
        shift: float,
        config: ObjectiveConfig,
        repa: Repa | None = None,
        repa_weight: float = 0.0,
        first_frame: bool = False,
    ):
        super().__init__()
        self.first_frame = first_frame
        self.transformer, self.text_encoder, self.shift = transformer, text_encoder, shift
        self.config, self.repa, self.repa_weight = config, repa, repa_weight
        self._no_split_modules = list(PooledWanTransformer3DModel._no_split_modules or [])
        self._layer_sync = None
        if config.layer_sync:
            blocks = transformer.blocks
            self._layer_sync = LayerSync(blocks, *config.blocks(len(blocks)))

    def forward(
        self,
        x: torch.Tensor,
        text: tuple[torch.Tensor, ...],
        times: tuple[float, float],
        generator: torch.Generator,
        features: torch.Tensor | None = None,
    ) -> Losses:
        """Latents and text to the loss of each clip.

        ``text`` is token ids and their mask where the encoder is trained along, else embeddings
        alone; ``times`` are mean and deviation of the logit of the times; ``features`` (B, D, t, h,
        w) a teacher's of the clean clips, where there is one.

        With ``first_frame`` half of the clips have their first latent frame given.
        """
        t = draw_times(len(x), *times, self.shift, generator)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        if self.config.pairing == "optimal-transport":
            noise = nearest_noise(x, noise)
        embeddings = text[0] if self.text_encoder is None else embed(self.text_encoder, *text)
        x_t, times_of_model, given = noisy(x, noise, t), t, None
        if self.first_frame:
            given = torch.rand(len(x), generator=generator, device=x.device) < SHARE
            of_frames = frame_times(t, given, x.shape[2])
            x_t = x + expanded(of_frames) * (noise - x)
            _, *patch = self.transformer.config["patch_size"]
            grid = (side // each for side, each in zip(x.shape[3:], patch, strict=True))
            times_of_model = token_times(of_frames, *grid)
        (velocity,) = self.transformer(
            hidden_states=x_t,
            timestep=times_of_model * 1000,
            encoder_hidden_states=embeddings,
            return_dict=False,
        )
        velocity, target = velocity.float(), noise - x
        flow = _distance(velocity, target)
        if given is not None:
            flow = error_of_others(velocity, target, given)
        total, added = flow, dict[str, torch.Tensor]()
        if self.config.time_weight == "min-snr":
            total = total * min_snr_weights(t, self.config.gamma, *times, self.shift)
        if self.config.contrastive:
            added["contrast"] = _distance(velocity, target[others(len(x), generator)])
            total = total - self.config.contrastive * added["contrast"]
        if self._layer_sync is not None:
            added["layer_sync"] = self._layer_sync.loss()
            total = total + self.config.layer_sync * added["layer_sync"]
        if self.repa is not None:
            assert features is not None
            added["repa"] = self.repa(features)
            total = total + self.repa_weight * added["repa"]
        return Losses(total, flow, t, added)


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The mean squared error of each clip (B,)."""
    return (a - b).square().flatten(1).mean(1)
