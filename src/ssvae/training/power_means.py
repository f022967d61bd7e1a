"""Running means of weights of any length, made after the run (post-hoc EMA, EDM2, arXiv
2312.02696).

While a run goes on, two means under power functions are kept, and snapshots of them written. The
mean of another length is a least-squares combination of the snapshots.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from ssvae.storage.files import replacing
from ssvae.training.checkpoint import write_tensors

LENGTHS = (0.05, 0.1)
"""Of the means that are kept: deviations of their profiles, as shares of the run so far."""
SHORTEST, LONGEST = 0.01, 0.25
"""Lengths that can be asked for; the uniform mean over a whole run has .289."""
FOLDER = "means"


def exponent_of(length: float) -> float:
    """The power g whose profile t^g over a run has this deviation, as a share of the run:
    sqrt((g + 1) / ((g + 2)^2 (g + 3))) = length.

    Raises:
        ValueError: for lengths that are not in [.01, .25].
    """
    if not SHORTEST <= length <= LONGEST:
        raise ValueError(f"a length must be in [{SHORTEST}, {LONGEST}], got {length}")
    inverse = length**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(max(root.real for root in roots if abs(root.imag) < 1e-9))


class PowerMeans:
    """Running means of weights under t^g for each of :data:`LENGTHS`, where the weights are."""

    def __init__(self, weights: Iterable[nn.Parameter]):
        held = [weight.detach().float() for weight in weights]
        self.means = [[weight.clone() for weight in held] for _ in LENGTHS]
        self._exponents = [exponent_of(length) for length in LENGTHS]

    @torch.no_grad()
    def update(self, weights: Iterable[nn.Parameter], step: int) -> None:
        """Take in the weights after step number ``step``, from 1."""
        held = [weight.detach().float() for weight in weights]
        for exponent, means in zip(self._exponents, self.means, strict=True):
            share = 1 - (1 - 1 / step) ** (exponent + 1)
            torch._foreach_lerp_(means, held, share)

    def tensors(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Copies on the CPU, as files have them: by length and name."""
        return {
            f"{length}.{name}": mean.cpu().clone()
            for length, means in zip(LENGTHS, self.means, strict=True)
            for name, mean in zip(names, means, strict=True)
        }

    def load(self, tensors: Mapping[str, torch.Tensor], names: Sequence[str]) -> None:
        """Take up what :meth:`tensors` gave."""
        for length, means in zip(LENGTHS, self.means, strict=True):
            for name, mean in zip(names, means, strict=True):
                mean.copy_(tensors[f"{length}.{name}"])


def write_snapshot(run: Path, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
    """Keep :meth:`PowerMeans.tensors` in a run's folder."""
    (run / FOLDER).mkdir(exist_ok=True)
    with replacing(run / FOLDER / f"step-{step:08d}.safetensors") as partial:
        write_tensors(tensors, partial)


def snapshots_of(run: Path) -> dict[int, Path]:
    """The files of a run's snapshots by step, ascending."""
    found = {
        int(match[1]): path
        for path in (run / FOLDER).glob("step-*.safetensors")
        if (match := re.fullmatch(r"step-(\d+)\.safetensors", path.name))
    }
    return dict(sorted(found.items()))


def combined(run: Path, length: float, step: int | None = None) -> dict[str, torch.Tensor]:
    """The mean of this length at a step, the last snapshot's where None, by the weights' names.

    Raises:
        ValueError: where there is no such snapshot, or a length that is none.
    """
    snapshots = snapshots_of(run)
    if not snapshots:
        raise ValueError(
            f"{run} holds no snapshots of EMAs: a run keeps them with --snapshots-every N"
        )
    last = max(snapshots) if step is None else step
    if last not in snapshots:
        there = ", ".join(map(str, snapshots))
        raise ValueError(f"{run} has snapshots of steps {there}, got {last}: give one of them")
    parts = [(number, kept) for number in snapshots if number <= last for kept in LENGTHS]
    total: dict[str, torch.Tensor] = {}
    for (number, kept), share in zip(parts, coefficients(parts, last, length), strict=True):
        with safe_open(snapshots[number], "pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                prefix, _, own = name.partition(f"{kept}.")
                if not prefix:
                    total[own] = total.get(own, 0) + share * file.get_tensor(name).double()
    return {name: mean.float() for name, mean in total.items()}


def coefficients(parts: Sequence[tuple[int, float]], step: int, length: float) -> list[float]:
    """How much of the mean of each (step, length) makes that of ``length`` at ``step``, by least
    squares between their profiles (EDM2, algorithm 3).
    """
    times = np.array([float(number) for number, _ in parts])
    powers = np.array([exponent_of(each) for _, each in parts])
    products = _product(times[:, None], powers[:, None], times, powers)
    target = _product(times, powers, np.array(float(step)), np.array(exponent_of(length)))
    return np.linalg.lstsq(products, target, rcond=None)[0].tolist()


def _product(
    time_a: np.ndarray, power_a: np.ndarray, time_b: np.ndarray, power_b: np.ndarray
) -> np.ndarray:
    """The integral of two profiles, each (g + 1) t^g / T^(g + 1) on [0, T]."""
    ratio = time_a / time_b
    exponent = np.where(time_a < time_b, power_b, -power_a)
    scale = (power_a + 1) * (power_b + 1) / (power_a + power_b + 1)
    return scale * ratio**exponent / np.maximum(time_a, time_b)
