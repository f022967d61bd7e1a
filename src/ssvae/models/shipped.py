"""Models that come with the package: found by name, without a network."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ssvae.storage.digests import damaged

FOLDER = Path(__file__).resolve().parent.parent / "shipped"
OWNER = "ssvae/"
"""What stands before a name where it looks like a hub id's."""
CARD = "card.json"


@dataclass(frozen=True)
class Card:
    """What a model is, how it was made and what it scores."""

    kind: Literal["autoencoder", "text-to-video"]
    summary: str
    parameters: int
    layout: str
    """What becomes of clips: frames and pixels a latent and channels, or the clips that it
    makes."""
    commands: tuple[str, ...]
    """What trains it anew."""
    seed: int
    data: str
    """What it was trained on, and the licence of that."""
    scores: Mapping[str, float]
    """Each by what was measured, on what."""

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        (folder / CARD).write_text(json.dumps(asdict(self), indent=2) + "\n")


def load_card(folder: Path) -> Card:
    """What :meth:`Card.save` wrote."""
    fields = json.loads((folder / CARD).read_text())
    return Card(**fields | {"commands": tuple(fields["commands"])})


def shipped_models() -> dict[str, Card]:
    """All that come with the package, by name."""
    return {path.parent.name: load_card(path.parent) for path in sorted(FOLDER.glob(f"*/{CARD}"))}


def shipped_autoencoders() -> tuple[str, ...]:
    """The names of those that encode videos."""
    return tuple(name for name, card in shipped_models().items() if card.kind == "autoencoder")


def shipped_folder(name: str) -> Path | None:
    """The folder of a shipped model, ``tiny`` or ``ssvae/tiny``; None where there is no such model.

    A folder of that name where one works comes first. A ValueError where a file of it is damaged.
    """
    folder = FOLDER / name.removeprefix(OWNER)
    if Path(name).is_dir() or folder.parent != FOLDER or not (folder / CARD).is_file():
        return None
    _verify(folder)
    return folder


@cache
def _verify(folder: Path) -> None:
    if wrong := damaged(folder):
        raise ValueError(
            f"the model {folder.name} that comes with ssvae is damaged ({', '.join(wrong)} in "
            f"{folder}): install ssvae again"
        )
