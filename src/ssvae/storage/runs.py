"""Where things lie in a training run."""

from pathlib import Path

_PREFIX = "step-"


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The complete checkpoints of a run, (step, folder), in the order of their steps."""
    folders = (run / "checkpoints").glob(f"{_PREFIX}*")
    return sorted((int(f.name.removeprefix(_PREFIX)), f) for f in folders if f.is_dir())


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / "checkpoints" / f"{_PREFIX}{step:08d}"


def sample_film(run: Path, step: int) -> Path:
    """Where the film of a step's validation lies."""
    return run / "samples" / f"step-{step:08d}.mp4"
