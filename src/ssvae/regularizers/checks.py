"""What every regulariser asks of the tensors that it is given; nothing here waits for a device."""

import torch


def check_numbers(x: torch.Tensor, what: str = "latents") -> None:
    """A ValueError for a tensor of whole, complex or truth values, or of none at all."""
    if not x.is_floating_point():
        raise ValueError(
            f"{what} must hold floating-point numbers, got {x.dtype}: give them as the model does, or "
            "x.float()"
        )
    if not x.numel():
        raise ValueError(
            f"{what} must hold at least one number, got {tuple(x.shape)}: leave empty batches out"
        )
