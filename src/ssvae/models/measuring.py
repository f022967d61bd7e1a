"""What a VAE of an unknown class shows when it encodes and decodes noise: its layout, and its last
layers.
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ssvae.models.classes import layout_of, mean_of, moments_of, sample_of
from ssvae.models.layouts import Layout, causal, uniform

logger = logging.getLogger(__name__)

SIDES = 64, 128, 256
"""Pixels a side of the noise that a layout is measured by: the first that a model takes."""
FRAMES = (17, 9), (33, 17), (16, 8), (32, 16), (4, 2)
"""Frames of two such clips; those of causal models come first."""


@torch.no_grad()
def measured_layout(vae: nn.Module) -> Layout:
    """The layout that a VAE shows when it encodes and decodes noise.

    Raises:
        ValueError: where it takes none of the clips that are tried, (1, 3, T, S, S) or images
            (1, 3, S, S): its layout must be given.
    """
    training, problems = vae.training, list[str]()
    vae.eval()
    try:
        for side in SIDES:
            for measure in (_as_clips, _as_images):
                if layout := measure(vae, side, problems):
                    return layout
    finally:
        vae.train(training)
    raise ValueError(
        f"this {type(vae).__name__} takes no clips (B, 3, T, H, W) in [-1, 1], or does not give "
        f"them back, so that its layout cannot be measured: {problems[0]} (--debug shows where). "
        "Mend it, or state its layout: Backbone(vae, Layout(channels, time_factor, space_factor, "
        "mean, std))"
    )


def _as_clips(vae: nn.Module, side: int, problems: list[str]) -> Layout | None:
    """The layout of a VAE that takes clips of this side."""
    for frames in FRAMES:
        try:
            long, short = (_passed(vae, (1, 3, n, side, side)) for n in frames)
        except Exception as error:
            logger.debug("%s does not take clips", type(vae).__name__, exc_info=True)
            problems.append(f"clips of {frames[0]} frames of {side}x{side}: {error}")
            continue
        grown = long.shape[1] - short.shape[1]
        factor = (frames[0] - frames[1]) // max(grown, 1)
        for lengths in (causal(factor), uniform(factor)) if factor > 1 else (uniform(1),):
            if all(
                lengths.fits(n) and lengths.latent_frames(n) == passed.shape[1]
                for n, passed in zip(frames, (long, short), strict=True)
            ):
                return long.layout(vae, factor, side, lengths=lengths)
        problems.append(
            f"of {frames[0]} and {frames[1]} frames it makes {long.shape[1]} and {short.shape[1]}"
        )
    return None


def _as_images(vae: nn.Module, side: int, problems: list[str]) -> Layout | None:
    """The layout of a VAE that takes images of this side."""
    try:
        return _passed(vae, (1, 3, side, side)).layout(vae, 1, side, of_images=True)
    except Exception as error:
        problems.append(f"images of {side}x{side}: {error}")
        return None


class _Passed(NamedTuple):
    """What came of noise."""

    shape: torch.Size
    """Of the latents, without the batch."""
    has_variance: bool

    def layout(self, vae: nn.Module, time: int, side: int, **more: Any) -> Layout:
        config = getattr(vae, "config", None)
        return layout_of(
            config if isinstance(config, Mapping) else {},
            self.shape[0],
            time,
            side // self.shape[-1],
            has_variance=self.has_variance,
            **more,
        )


def _passed(vae: nn.Module, shape: tuple[int, ...]) -> _Passed:
    """Noise of this shape, encoded and decoded; a ValueError where that changes its shape."""
    weight = next(vae.parameters(), torch.empty(0))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight)
    mean, moments = mean_of(vae, noise), moments_of(vae, noise)
    decoded = sample_of(vae, mean)
    if decoded.shape != noise.shape:
        raise ValueError(f"it decodes {tuple(decoded.shape)} of {tuple(noise.shape)}")
    return _Passed(mean.shape[1:], moments.shape[1] == 2 * mean.shape[1])


@torch.no_grad()
def last_layers(vae: nn.Module, layout: Layout) -> tuple[str, str]:
    """The names of the layers with weights that run last when a VAE encodes, and when it decodes:
    those that make the moments and the clip. Empty where no layer with weights runs.
    """
    frames = next(n for n in range(1, 1024) if layout.clip_lengths.fits(n))
    side = next(side for side in SIDES if side % layout.space_factor == 0)
    shape = (1, layout.in_channels, frames, side, side)
    weight = next(vae.parameters(), torch.empty(0))
    noise = torch.zeros(shape).to(weight)
    run, names = list[str](), {module: name for name, module in vae.named_modules()}
    hooks = [
        module.register_forward_hook(lambda module, *_: run.append(names[module]))
        for module in names
        if isinstance(getattr(module, "weight", None), nn.Parameter) and not any(module.children())
    ]
    training = vae.training
    vae.eval()
    try:
        mean = mean_of(vae, noise[:, :, 0] if layout.of_images else noise)
        of_encoder = (run or [""])[-1]
        run.clear()
        sample_of(vae, mean)
        return of_encoder, (run or [""])[-1]
    finally:
        vae.train(training)
        for hook in hooks:
            hook.remove()
