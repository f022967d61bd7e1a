"""The code in README and docs, run as a reader runs it: a process a block, a folder a page.

A comment before a block says what is not shown in it:

    <!-- docs-run skip: why -->              it cannot run here; its options are checked
    <!-- docs-run replace: WORD => word -->  what stands for something of the reader's own
    <!-- docs-run continues -->              it goes on with the Python blocks above it
    <!-- docs-run before: CODE -->           Python, on lines of its own, that makes what is given
    <!-- docs-run saves: FILE -->            the reader saves it as this file
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).with_name("shim.py")
PROGRAMS = ("ssvae", "pip", "make", "python3", "torchrun", "accelerate", "sbatch")
NOTE = r"<!-- docs-run\s+(\w+)(?::\s*(.*?))?\s*-->\s*\n"
BLOCK = re.compile(
    rf"((?:^[ ]*{NOTE})*)^[ ]*```(\w+)[^\n]*\n(.*?)^[ ]*```", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: Path
    number: int
    kind: str
    text: str
    notes: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.page.name}-{self.number}"

    def note(self, name: str) -> list[str]:
        """What the notes of a name say."""
        return [text for word, text in self.notes if word == name]

    @property
    def skipped(self) -> bool:
        """Whether it cannot run here."""
        return bool(self.note("skip"))

    @property
    def code(self) -> str:
        """What is run."""
        code = self.text
        for replacement in self.note("replace"):
            shown, given = (text.strip() for text in replacement.split("=>"))
            assert shown in code, f"{self}: there is no {shown!r}"
            code = code.replace(shown, given)
        return code


def blocks_of(page: Path) -> list[Block]:
    """The blocks of shell and Python on a page."""
    found = []
    for match in BLOCK.finditer(page.read_text()):
        kind = {"py": "python"}.get(match[4], match[4])
        if kind in ("python", "sh"):
            notes = tuple((m[1], m[2] or "") for m in re.finditer(NOTE, match[1], re.DOTALL))
            found.append(Block(page, len(found), kind, match[5], notes))
    return found


def programs(folder: Path) -> Path:
    """A folder of programs of the names that pages use: see :mod:`shim`."""
    where = folder / "programs"
    where.mkdir()
    for name in PROGRAMS:
        (where / name).write_text(f'#!/bin/sh\nexec {sys.executable} {SHIM} {name} "$@"\n')
        (where / name).chmod(0o755)
    return where


def run(block: Block, folder: Path, before: list[Block], path: Path) -> None:
    """Run a block in a process of its own; an AssertionError with what it said where it fails."""
    environment = os.environ | {
        "PATH": f"{path}:{os.environ['PATH']}",
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",
    }
    for name in block.note("saves"):
        (folder / name).write_text(block.code)
    if block.kind == "sh":
        words = ["bash", "-euo", "pipefail", "-c", block.code]
    else:
        parts = [*(b for b in before if b.kind == "python" and not b.skipped), block]
        parts = parts if block.note("continues") else [block]
        script = folder / f"block-{block.number}.py"
        script.write_text(
            "\n".join([*(t for p in parts for t in p.note("before")), *(p.code for p in parts)])
        )
        words = [sys.executable, str(script)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert not done.returncode, (
        f"{block}\n{block.code}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )


def check(block: Block) -> None:
    """What can be held of a block that cannot run: its syntax, and that commands know its
    options.
    """
    if block.kind == "python":
        ast.parse(block.text)
        return
    for words in commands(block.text):
        if words[:1] == ["ssvae"] or "ssvae" in words[1:4]:
            check_options(words[words.index("ssvae") + 1 :], str(block))


def commands(text: str) -> Iterator[list[str]]:
    """The words of each line."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            if words := shlex.split(line, comments=True):
                yield words
        except ValueError:  # a value over several lines
            continue


def check_options(words: list[str], where: str) -> None:
    """An AssertionError for a command, a recipe or an option that is not there."""
    named = [word for word in words[:2] if not word.startswith("-")]
    takes_recipe = named[:1] in (["train"], ["train-diffusion"], ["evaluate"], ["bench"])
    asked = named[: 1 + takes_recipe]
    help_of = [str(Path(sys.executable).with_name("ssvae")), *asked, "--help-all"]
    done = subprocess.run(
        help_of, capture_output=True, text=True, env=os.environ | {"COLUMNS": "300"}
    )
    assert not done.returncode, f"{where}: ssvae {' '.join(asked)}: {done.stdout}{done.stderr}"
    known = set(re.findall(r"--[\w.-]+", done.stdout))
    for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
        assert option in known, f"{where}: ssvae {' '.join(asked)} has no {option}"
