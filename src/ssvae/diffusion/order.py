"""Which clips each batch of a run holds."""

from collections import Counter
from collections.abc import Sequence

import torch

from ssvae.storage.seeds import generator_of


class BatchOrder:
    """Batches by number, endlessly: every clip once an epoch, in a new order each, and each batch
    of one bucket, alike on all processes, as often as the bucket has clips for.

    Args:
        seed: of all orders.
        counts: clips of each bucket; they are counted through the buckets.
        size: clips of a batch.
        processes: each has a batch of every number.
    """

    def __init__(self, seed: int, counts: Sequence[int], size: int, processes: int = 1):
        self.seed, self.size, self.processes = seed, size, processes
        self._orders = [_Order(seed, count) for count in counts]
        self._first = [sum(counts[:bucket]) for bucket in range(len(counts))]
        self._batches = [-(-count // (size * processes)) for count in counts]  # of a round
        self._round, self._turns = -1, list[tuple[int, int]]()

    def indices(self, number: int, process: int = 0) -> list[int]:
        """The clips of a process's batch of this number."""
        bucket, own = self._turn(number)
        start = (own * self.processes + process) * self.size
        order, first = self._orders[bucket], self._first[bucket]
        return [first + order[position] for position in range(start, start + self.size)]

    def _turn(self, number: int) -> tuple[int, int]:
        """The bucket of a batch, and its number among the bucket's own."""
        around, place = divmod(number, sum(self._batches))
        if around != self._round:
            self._round = around
            turns = [bucket for bucket, n in enumerate(self._batches) for _ in range(n)]
            mixed = torch.randperm(len(turns), generator=generator_of(self.seed, around, 1))
            seen, self._turns = Counter[int](), []
            for bucket in (turns[i] for i in mixed.tolist()):
                self._turns.append((bucket, around * self._batches[bucket] + seen[bucket]))
                seen[bucket] += 1
        return self._turns[place]


class _Order:
    """Which clip stands at each position of an endless sequence: each once an epoch, shuffled."""

    def __init__(self, seed: int, clips: int):
        self.seed, self.clips = seed, clips
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.clips)
        if epoch != self._epoch:
            self._epoch = epoch
            # Eight bytes a clip; as numbers of Python it would be five times that.
            self._order = torch.randperm(self.clips, generator=generator_of(self.seed, epoch))
        return int(self._order[place])
