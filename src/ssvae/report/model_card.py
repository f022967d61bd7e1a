"""The card of a model on a hub: what it is, how it is loaded, what was measured, its training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from huggingface_hub import ModelCardData

TAGS = ("video", "ssvae")


@dataclass(frozen=True)
class CardFacts:
    """What a card says."""

    repository: str
    """owner/name."""
    described: str
    """What it is, a sentence."""
    load: str
    """Lines of Python that load it."""
    measured: str
    """A table in Markdown with its protocol; empty where nothing was measured."""
    training: Mapping[str, Any]
    """All settings of the run; empty where they are not known."""
    checksums: Mapping[str, str]
    """SHA-256 of each file."""
    library: str = "ssvae"
    task: str | None = None
    """As the hub names it."""
    license: str | None = None


def model_card(facts: CardFacts) -> str:
    """The card as Markdown, with what the hub reads of it on top."""
    head = ModelCardData(
        library_name=facts.library,
        license=facts.license,
        pipeline_tag=facts.task,
        tags=list(TAGS),
    ).to_yaml()
    parts = [f"---\n{head}\n---", f"# {facts.repository}", facts.described]
    needed = f"With the package ssvae, {version('ssvae')} or newer:"
    parts += ["## Use", f"{needed}\n\n```python\n{facts.load}\n```"]
    nothing = f"Nothing was measured for this card: `ssvae analyze {facts.repository}` does."
    parts += ["## Measured", facts.measured.strip() or nothing]
    if facts.training:
        settings = json.dumps(dict(facts.training), indent=2)
        told = (
            f"All settings (`--config` takes them, as `training.json`):\n\n```json\n{settings}\n```"
        )
        parts += ["## Training", told]
    sums = "\n".join(f"{sha256}  {name}" for name, sha256 in sorted(facts.checksums.items()))
    parts += ["## Files", f"SHA-256:\n\n```\n{sums}\n```"]
    return "\n\n".join(parts) + "\n"
