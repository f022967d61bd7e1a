"""The terms of the training loss, pure functions over tensors, and LPIPS."""

from ssvae.losses.adversarial import LeCam, generator_loss, hinge_loss, r1_penalty
from ssvae.losses.perceptual import LPIPS, find_lpips, load_lpips, of_frames
from ssvae.losses.reconstruction import kl_loss, l1_loss, under_variance

__all__ = [
    "LPIPS",
    "LeCam",
    "find_lpips",
    "generator_loss",
    "hinge_loss",
    "kl_loss",
    "l1_loss",
    "load_lpips",
    "of_frames",
    "r1_penalty",
    "under_variance",
]
