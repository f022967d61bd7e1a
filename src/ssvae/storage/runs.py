"""Where the checkpoints of a training run lie."""

from pathlib import Path

_PREFIX = "step-"


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The complete checkpoints of a run, (step, folder), in the order of their steps."""
    folders = (run / "checkpoints").glob(f"{_PREFIX}*")
    return sorted((int(f.name.removeprefix(_PREFIX)), f) for f in folders if f.is_dir())


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"{_PREFIX}{step:08d}"
