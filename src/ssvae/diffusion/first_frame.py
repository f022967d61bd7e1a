"""Image to video: the first latent frame is given, clean and at time 0, and the model makes the
rest.

As Wan 2.2 has it in its 5B model: each token has a time of its own. In a causal VAE the first
latent frame is of the first frame of video alone, so that a picture is enough.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

SHARE = 0.5
"""Of clips in training whose first frame is given; the others are made from captions alone."""


def frame_times(t_B: torch.Tensor, given_B: torch.Tensor, frames: int) -> torch.Tensor:
    """The time of each latent frame (B, T): 0 of the first where it is given."""
    times = t_B[:, None].repeat(1, frames)
    times[:, 0] *= ~given_B
    return times


def token_times(times_BT: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The time of each token (B, T rows columns), in the order of the transformer's."""
    return times_BT[:, :, None].expand(-1, -1, rows * columns).flatten(1)


def expanded(times_BT: torch.Tensor) -> torch.Tensor:
    """Times of frames as factors of latents (B, 1, T, 1, 1)."""
    return times_BT[:, None, :, None, None]


def error_of_others(
    velocity: torch.Tensor, target: torch.Tensor, given_B: torch.Tensor
) -> torch.Tensor:
    """The mean squared error of each clip (B,), over the latent frames that are not given."""
    error = (velocity - target).square().mean((1, 3, 4))  # (B, T)
    made = torch.ones_like(error)
    made[:, 0] = (~given_B).to(error.dtype)
    return (error * made).sum(1) / made.sum(1)


@torch.no_grad()
def latents_of(vae: Any, image: torch.Tensor) -> torch.Tensor:
    """A picture (3, H, W) in [-1, 1] as the latent frame (1, C, 1, h, w) that a pipeline's
    transformer sees.
    """
    clip = image[None, :, None].to(vae.device, vae.dtype)
    mean, std = (
        torch.tensor(vae.config[name], device=vae.device).view(1, -1, 1, 1, 1)
        for name in ("latents_mean", "latents_std")
    )
    return (vae.encode(clip).latent_dist.mean.float() - mean) / std


@contextmanager
def holding(transformer: nn.Module, first_BC1HW: torch.Tensor) -> Iterator[None]:
    """While this lasts the transformer sees these first latent frames, clean and at time 0."""

    def replace(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        noisy = named["hidden_states"].clone()
        noisy[:, :, :1] = first_BC1HW
        _, rows, columns = (
            side // patch
            for side, patch in zip(noisy.shape[2:], transformer.config["patch_size"], strict=True)  # type: ignore[index]
        )
        given = torch.ones(len(noisy), dtype=torch.bool, device=noisy.device)
        times = frame_times(named["timestep"].float(), given, noisy.shape[2])
        times = token_times(times, rows, columns)
        return arguments, named | {"hidden_states": noisy, "timestep": times}

    hook = transformer.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
