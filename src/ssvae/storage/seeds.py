"""Random numbers that follow from a few integers."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

MASK_64 = 2**64 - 1


def generator_of(*entropy: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for these integers of at least 0, such as (seed, index): others, other numbers.

    The integers are mixed, for a generator on the CPU looks at 32 bits of its seed alone.
    """
    state = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(state)


def uniform(seed: int, indices: Sequence[int], draws: int) -> np.ndarray:
    """Independent numbers in [0, 1), float64 (B, draws): SplitMix64 over (seed, index, draw)."""

    def mix(x: np.ndarray) -> np.ndarray:
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    rows = np.asarray(indices, dtype=np.uint64)[:, None]
    start = mix(np.full_like(rows, seed % 2**64))
    bits = mix(mix(start ^ mix(rows)) ^ np.arange(draws, dtype=np.uint64))
    return (bits >> np.uint64(11)) * 2.0**-53


def permuted(position: int, length: int, *entropy: int) -> int:
    """What stands at a position of a permutation of ``range(length)`` that follows from these
    integers, without any of it in memory: a Feistel network, gone through again for what is beyond
    the end.
    """
    half = ((length - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for key in _keys(entropy):
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        position = left << half | right
        if position < length:
            return position


@lru_cache(maxsize=64)
def _keys(entropy: tuple[int, ...]) -> list[int]:
    return np.random.SeedSequence(entropy).generate_state(6, np.uint64).tolist()


def _mixed(x: int) -> int:
    """SplitMix64's last steps."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK_64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK_64
    return x ^ x >> 31
