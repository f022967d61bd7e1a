"""From sources to batches, where it pays read ahead while the model works."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from ssvae.data.batch import Batch, Source, check_finite

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Loader:
    """Batches by number, from 0: of videos, and in between of images.

    Which clips a batch holds depends on its number and the process alone, so a run that resumes
    goes on with the clips that an unbroken one would see. Whether a batch is of images is settled
    by its number too, before anything is read, and alike on all processes.
    """

    videos: Sequence[Source]
    """Batches come from these in turn."""
    video_batch: int
    """Clips in a batch of videos, on each process."""
    images: Source | None = None
    image_batch: int = 1
    image_share: float = 0.0
    """Share of batches that are of images; they come at equal distances."""
    process: int = 0
    processes: int = 1
    pin: bool = False
    """Pin batches, for a GPU, in the threads that read."""

    def read(self, number: int) -> Batch:
        """The batch of this number.

        Raises:
            ValueError: where a clip holds NaN or infinity, or the source gives none.
        """
        before, until = (int(n * self.image_share + 1e-9) for n in (number, number + 1))
        share = self.process, self.processes
        if until > before:
            assert self.images is not None
            indices = self.images.indices(before, self.image_batch, *share)
            batch = self.images.batch(indices)
        else:
            place = number - before
            videos = self.videos[place % len(self.videos)]
            batch = videos.batch(videos.indices(place, self.video_batch, *share))
        # Bytes, as files have them, cannot be wrong; for what a GPU made the host would wait.
        if batch.video.is_floating_point() and batch.video.device.type == "cpu":
            check_finite(batch.video, f"batch {number + 1}")
        return batch.pinned() if self.pin else batch

    @property
    def read_ahead(self) -> bool:
        """Whether threads should fetch batches early."""
        sources = (*self.videos, self.images)
        return any(source.read_ahead for source in sources if source is not None)


def reading_threads(asked: int | None = None) -> int:
    """How many threads read files: as asked, else one for each core that this process has.

    Processes of a machine share its cores.
    """
    if asked is not None:
        return asked
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def batches(loader: Loader, numbers: Iterable[int], workers: int | None = None) -> Iterator[Batch]:
    """The batches of these numbers, in order, which so many threads fetch ahead of their use."""
    workers = reading_threads(workers)
    if not loader.read_ahead or workers < 1:
        yield from map(loader.read, numbers)
        return
    yield from ahead(loader.read, numbers, workers)


def in_order(
    source: Source, clips: range, size: int, workers: int | None = None, pin: bool = False
) -> Iterator[tuple[range, Batch]]:
    """Clips of a source by their indices, in batches, with the indices of each; read ahead if
    files, and pinned, for a GPU, by the threads that read.
    """
    parts = [clips[i : i + size] for i in range(0, len(clips), size)]

    def read(indices: range) -> tuple[range, Batch]:
        batch = source.batch(indices)
        return indices, batch.pinned() if pin else batch

    threads = reading_threads(workers)
    yield from ahead(read, parts, threads) if source.read_ahead and threads else map(read, parts)


def ahead(read: Callable[[T], U], numbers: Iterable[T], workers: int) -> Iterator[U]:
    """What ``read`` gives for each of these, in order, fetched by threads ahead of its use."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="loader")
    left = iter(numbers)
    # One more than are being read waits, so that one slow clip starves nobody.
    waiting = [pool.submit(read, number) for number in islice(left, workers + 1)]
    try:
        while waiting:
            batch = waiting.pop(0).result()
            waiting += [pool.submit(read, number) for number in islice(left, 1)]
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
