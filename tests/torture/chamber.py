"""What every case of the torture chamber is judged by."""

import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

from commands import CONTEXT, _run

LONGEST = 90.0
"""Seconds after which a command counts as hanging."""
MODEL = "tiny-baseline"
"""A shipped model, small enough for a thousand commands."""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its status (None where it hung), its words, the files that are new."""

    status: int | None
    said: str
    new: frozenset[str]
    changed: frozenset[str]

    def held(self) -> bool:
        """Whether it did what it was asked for."""
        self._decent()
        return self.status == 0

    def refused(self, *words: str) -> bool:
        """Whether it ended with one sentence that holds these words, and left nothing behind."""
        self._decent()
        if self.status != 2:
            return False
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        usage = "╭─" in self.said  # tyro's, where a word is none of what an option takes
        assert len(errors) == 1 or usage, self.said
        assert not self.new, f"left behind: {sorted(self.new)}"
        assert all(word in self.said for word in words) or usage, f"{words} not in {self.said}"
        return True

    def _decent(self) -> None:
        assert self.status is not None, f"it hung: {self.said[-2000:]}"
        assert "Traceback" not in self.said, self.said[-3000:]
        assert self.status in (0, 2), f"status {self.status}: {self.said[-2000:]}"
        assert not any(".partial-" in name for name in self.new), sorted(self.new)
        assert not self.changed, f"what was there before changed: {sorted(self.changed)}"


def command(*words: object, folder: Path, timeout: float = LONGEST) -> Outcome:
    """A command in a folder, in a process of its own."""
    before, said = _state(folder), folder.with_name(f"{folder.name}-said")
    process = CONTEXT.Process(target=_run, args=(list(map(str, words)), str(said), str(folder)))
    process.start()
    process.join(timeout)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    after = _state(folder)
    new = frozenset(after) - frozenset(before)
    changed = frozenset(name for name in before if after.get(name) != before[name])
    return Outcome(status, said.read_text(errors="replace"), new, changed)


def _state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
    }


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Bytes with one kind of damage: turned bits, a hole, a cut, a stretch twice, noise, another
    length.
    """
    data, kind = bytearray(content), draw.randrange(6)
    place, length = draw.randrange(len(data)), draw.choice((1, 8, 64, 1024))
    if kind == 0:
        for _ in range(draw.choice((1, 10, 400))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        data[place : place + length] = bytes(min(length, len(data) - place))
    elif kind == 2:
        del data[place:]
    elif kind == 3:
        data[place:place] = data[place : place + length]
    elif kind == 4:
        data[place : place + length] = draw.randbytes(min(length, len(data) - place))
    else:
        del data[place : place + length]
    return bytes(data)
