"""The terms of the training loss, pure functions over tensors."""

from ssvae.losses.reconstruction import kl_loss, l1_loss

__all__ = ["kl_loss", "l1_loss"]
