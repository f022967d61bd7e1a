"""Where the ladder works, and how it scores."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ssvae.bench.scales import Scale
from ssvae.bench.scoring import ProbeScorer, Sampling
from ssvae.bench.stages import Options
from studies.diffusability.ladder.rows import FOLDER, ROWS
from studies.diffusability.ladder.rungs import DATA

PROBE = FOLDER / "probe.safetensors"


@dataclass(frozen=True)
class LadderOptions(Options):
    """Where the ladder works."""

    rows: Path = ROWS

    def scorer(self, scale: Scale) -> ProbeScorer:
        """The ladder's own probe, or the package's of stills, and one scorer for each size and
        sampling in a process.
        """
        return _scorer(scale.size, scale.data, scale.evaluation)


@lru_cache(16)
def _scorer(size: tuple[int, int, int], data: str, sampling: Sampling) -> ProbeScorer:
    return ProbeScorer(sampling, size, probe_of(data), "cpu", data)


def probe_of(data: str) -> Path | None:
    """The file of a source's probe; None is the package's own."""
    return PROBE if data == DATA else None
