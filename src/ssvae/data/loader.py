"""From a source to batches, where it pays read ahead while the model works."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from ssvae.data.batch import Batch, Source, check_finite

AHEAD = 2  # batches that wait, so that one slow clip starves nobody


def batches(
    source: Source,
    batch_size: int,
    first_step: int,
    last_step: int,
    process: int = 0,
    processes: int = 1,
) -> Iterator[Batch]:
    """One batch for each step from ``first_step`` to ``last_step``, counted from 1.

    Which clips a batch holds depends on step and process alone, so a run that resumes goes on
    with the clips that an unbroken one would see.

    Raises:
        ValueError: where a clip holds NaN or infinity, or the source gives none.
    """

    def read(step: int) -> Batch:
        start = ((step - 1) * processes + process) * batch_size
        return source.batch(range(start, start + batch_size))

    steps = range(first_step, last_step + 1)
    for step, batch in zip(steps, _ahead(read, steps, source.read_ahead), strict=True):
        check_finite(batch.video, f"the batch of step {step}")
        yield batch


def _ahead(read: Callable[[int], Batch], steps: Iterable[int], thread: bool) -> Iterator[Batch]:
    """``read`` of each step in order, in a thread that is a few steps ahead, or as asked for."""
    if not thread:
        yield from map(read, steps)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
        left = iter(steps)
        waiting = [pool.submit(read, step) for step in islice(left, AHEAD)]
        try:
            while waiting:
                batch = waiting.pop(0).result()
                waiting += [pool.submit(read, step) for step in islice(left, 1)]
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)
