"""A checkpoint of a run's weights averaged over another length, after the run."""

import shutil
from pathlib import Path

from ssvae.diffusion.pipeline import checkpoint_of
from ssvae.diffusion.trainer import MEANS, WEIGHTS
from ssvae.storage.digests import seal
from ssvae.storage.files import SEAL, replacing
from ssvae.training.checkpoint import write_tensors
from ssvae.training.power_means import combined
from ssvae.training.state import EMA, MODEL, OPTIMIZERS

OF_TRAINING = (MODEL, OPTIMIZERS, EMA, MEANS, SEAL, "repa")
"""What a checkpoint holds for the run to go on."""


def write_average(run: Path, out: Path, length: float, step: int | None = None) -> Path:
    """A checkpoint like a run's last, of the EMA of this length at this step, or at the
    last snapshot's: it generates and is exported, but no run goes on from it.

    Raises:
        ValueError: where the run has no such snapshot, or for a length that is none; see
            :mod:`ssvae.training.power_means`.
    """
    means, checkpoint = combined(run, length, step), checkpoint_of(run)
    with replacing(out) as partial:
        shutil.copytree(checkpoint, partial, ignore=shutil.ignore_patterns(*OF_TRAINING))
        for part, file in WEIGHTS.items():
            start = f"{part}."
            own = {k.removeprefix(start): x for k, x in means.items() if k.startswith(start)}
            if own and (partial / part).is_dir():
                write_tensors(own, partial / part / file)
        seal(partial)
    return out
