"""What every regulariser asks of the tensors that it is given; nothing here waits for a device."""

import math

import torch


def check_numbers(x: torch.Tensor, what: str = "latents") -> None:
    """A ValueError for a tensor of whole, complex or truth values, or of none at all."""
    if not x.is_floating_point():
        raise ValueError(
            f"{what} must hold floating-point numbers, got {x.dtype}: give them as the model does, "
            "or x.float()"
        )
    if not x.numel():
        raise ValueError(
            f"{what} must hold at least one number, got {tuple(x.shape)}: leave empty batches out"
        )


def check_pair(z: torch.Tensor, clips: torch.Tensor) -> None:
    """A ValueError where latents and clips are no pair."""
    if z.ndim not in (4, 5) or clips.ndim != z.ndim or len(z) != len(clips):
        raise ValueError(
            "latents (batch, channels, [frames,] height, width) need clips with as many axes, a "
            f"clip for each, got {tuple(z.shape)} and {tuple(clips.shape)}"
        )
    check_numbers(z)
    check_numbers(clips, "clips")
    if any(big % small for big, small in zip(clips.shape[-2:], z.shape[-2:], strict=True)):
        raise ValueError(
            "sides of clips must be multiples of those of their latents, got "
            f"{tuple(z.shape[-2:])} for {tuple(clips.shape[-2:])}"
        )


def check_positive(name: str, value: float) -> None:
    """A ValueError for a weight that is no positive number."""
    if not 0 < value < math.inf:
        raise ValueError(
            f"{name} must be a positive number, got {value}: enabled turns a regulariser off"
        )
