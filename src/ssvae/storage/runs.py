"""Where things lie in a training run."""

import logging
from collections.abc import Callable
from pathlib import Path

from ssvae.storage.digests import damaged

logger = logging.getLogger(__name__)
_PREFIX = "step-"


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The complete checkpoints of a run, (step, folder), in the order of their steps."""
    folders = (run / "checkpoints").glob(f"{_PREFIX}*")
    return sorted((int(f.name.removeprefix(_PREFIX)), f) for f in folders if f.is_dir())


def last_checkpoint(
    run: Path, part: str = "", warn: Callable[..., None] = logger.warning
) -> tuple[int, Path] | None:
    """The newest checkpoint, (step, folder), whose files below ``part`` are as they were written.

    Newer ones that are damaged are named by ``warn``. None where there is no checkpoint; a
    ValueError where all are damaged.
    """
    found = checkpoints(run)
    for step, folder in reversed(found):
        wrong = damaged(folder, part)
        if not wrong:
            return step, folder
        warn(
            "the checkpoint %s is damaged (%s): the one before it is taken",
            folder,
            ", ".join(wrong),
        )
    if found:
        raise ValueError(
            f"every checkpoint of {run} is damaged: put back a copy of one, or begin again in "
            "another folder"
        )
    return None


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"{_PREFIX}{step:08d}"


def sample_film(run: Path, step: int) -> Path:
    """Where the film of a step's validation lies."""
    return run / "samples" / f"step-{step:08d}.mp4"
