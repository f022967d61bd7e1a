"""Figures with the protocol that they were taken by; without it no figure is told or compared."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssvae.data.fixed import file_of
from ssvae.statistics.intervals import Interval, mean_interval
from ssvae.storage.files import write_text


@dataclass(frozen=True)
class EvaluationProtocol:
    """How figures were taken. Two evaluations compare where all of it agrees."""

    kind: str
    """What was evaluated: reconstruction, generation or reward."""
    networks: dict[str, str]
    """For each measure that needs one: the network, how it is fed, and its checksum."""
    clips: int
    """That gave figures."""
    files: int
    """That the clips are of; intervals are over these."""
    frames: int
    """Of each clip."""
    size: str
    """Height x width that clips were brought to, or "as in the files"."""
    fps: float | None
    """That clips were resampled to; None is each video's own."""
    read_from: str
    """Whether what was evaluated came from files (coded, 8 bits) or raw from the model."""
    data: str
    """Checksum of the true clips, or of the prompts where there are none."""

    def lines(self) -> list[str]:
        """As text, a line for each part."""
        fps = f"{self.fps:g} frames a second" if self.fps else "each video's own frame rate"
        return [
            f"{self.kind} of {self.clips} clips"
            + (f" of {self.files} files" if self.files < self.clips else "")
            + f" of {self.frames} frames, {self.size}, {fps}, {self.read_from}",
            f"data: sha256 {self.data}",
            *(f"{measure}: {network}" for measure, network in self.networks.items()),
        ]


@dataclass(frozen=True)
class Evaluation:
    """Figures with their 95 % intervals over clips, and what each clip gave."""

    protocol: EvaluationProtocol
    figures: dict[str, Interval]
    clips: dict[str, dict[str, float]] = field(default_factory=dict)
    """The measures of each clip by its name, where they have any."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Clips that gave no figure, and why."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = {"ssvae": version("ssvae"), **dataclasses.asdict(self)}
        write_text(path, json.dumps(content, indent=2) + "\n")


def load_evaluation(path: str | Path) -> Evaluation:
    """Read what :meth:`Evaluation.save` wrote."""
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text())
        return Evaluation(
            EvaluationProtocol(**content["protocol"]),
            {name: Interval(**figure) for name, figure in content["figures"].items()},
            content["clips"],
            content["left_out"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no evaluation ({error}): ssvae evaluate ... --out writes one"
        ) from error


def check_comparable(evaluations: Mapping[str, Evaluation]) -> None:
    """A ValueError that names what differs between the protocols of evaluations."""
    (first, reference), *others = evaluations.items()
    for name, other in others:
        a, b = (dataclasses.asdict(e.protocol) for e in (reference, other))
        different = [f"{key} {a[key]!r} and {b[key]!r}" for key in a if a[key] != b[key]]
        if different:
            raise ValueError(
                f"{first} and {name} were evaluated by different protocols, so that their figures "
                f"do not compare: {'; '.join(different)}. Evaluate both in the same way"
            )


def differences(a: Evaluation, b: Evaluation) -> dict[str, Interval]:
    """b - a for each measure that clips have, paired by clip, with its interval."""
    names = sorted(set(a.clips) & set(b.clips))
    if not names:
        return {}
    everywhere = [
        m for m in a.clips[names[0]] if all(m in e.clips[n] for e in (a, b) for n in names)
    ]
    files = [file_of(name) for name in names]
    return {
        m: mean_interval([b.clips[n][m] - a.clips[n][m] for n in names], files) for m in everywhere
    }


def checksum_of_clip(clip: torch.Tensor) -> str:
    """Of a clip's content, float32."""
    return hashlib.sha256(clip.float().cpu().contiguous().numpy().tobytes()).hexdigest()


def checksum_of_all(parts: Iterable[str]) -> str:
    """Of a set, in whatever order."""
    return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()
