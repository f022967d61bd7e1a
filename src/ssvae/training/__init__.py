"""The loop of every training run, its checkpoints and devices; it knows no model."""

from ssvae.training.devices import make_accelerator, repeat_bit_for_bit
from ssvae.training.interruption import InterruptedRun
from ssvae.training.loop import train
from ssvae.training.progress import progress_bar, silent
from ssvae.training.tracking import Tracker

__all__ = [
    "InterruptedRun",
    "Tracker",
    "make_accelerator",
    "progress_bar",
    "repeat_bit_for_bit",
    "silent",
    "train",
]
