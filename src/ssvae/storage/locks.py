"""A folder that one process at a time writes, or one group of processes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from accelerate import Accelerator
from filelock import FileLock, Timeout

from ssvae.storage.processes import from_main

LOCK = ".lock"
"""The file in a folder that is locked. It stays, and means nothing without a process that holds
it."""


@contextmanager
def written_alone(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, which is made where it is not there; a ValueError where another process does.

    The lock ends with its process, however that ends. On shared folders it holds between machines
    where the file system has ``flock`` (NFS 4, Lustre mounted with it); elsewhere not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"another process is writing {what} in {folder}: wait until it ends, or choose another "
            "folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def written_together(folder: Path, what: str, accelerator: Accelerator) -> Iterator[None]:
    """The same for processes that work together: the main one holds it, and all hear where it
    cannot.
    """
    with ExitStack() as alone:
        from_main(accelerator, lambda: alone.enter_context(written_alone(folder, what)))
        yield
