"""Generators of random numbers whose state follows from a few integers."""

import numpy as np
import torch


def generator_of(*entropy: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for these integers of at least 0, such as (seed, index): others, other numbers.

    The integers are mixed, for a generator on the CPU looks at 32 bits of its seed alone.
    """
    state = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(state)
