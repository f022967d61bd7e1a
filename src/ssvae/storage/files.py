"""Files and folders that are there whole or not at all."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

CACHE = "SSVAE_CACHE"
"""The environment variable of the folder for :func:`of_this_machine`; ~/.cache/ssvae without it."""
SEAL = "sha256.json"
"""In a folder whose files stay as they are: their checksums."""
PARTIAL = ".partial-"
"""How the names of what is being written begin."""
NUMBER = re.compile(r"%(?:0\d+)?d")
LIKE_NUMBERS = re.compile(r"%\d*[di]")
"""Where the number stands in the name of a picture of a film, such as %05d.png."""


class Replacement:
    """A file or folder in the making, under the name ``partial`` beside the one that it will have.

    The name is this process's own, so that two that make the same do not write into one file. What
    processes that are gone left of it is removed.
    """

    def __init__(self, path: Path):
        self.path, self.partial = path, path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
        for other in path.parent.glob(f"{PARTIAL}*-{escape(path.name)}"):
            number = other.name.removeprefix(PARTIAL).removesuffix(f"-{path.name}")
            if number.isdecimal() and not _runs(int(number)):
                _remove(other)

    def keep(self) -> None:
        """Give it its name, in one move."""
        if self.partial.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)  # no folder replaces one that is not empty
        by_umask(self.partial)
        os.replace(self.partial, self.path)

    def discard(self) -> None:
        """Remove what there is of it; what was there before stays."""
        _remove(self.partial)


def of_this_machine() -> Path:
    """Where what its processes share is kept between runs."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "ssvae")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether there is a process of this number here."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another's
        pass
    return True


def by_umask(path: Path) -> None:
    """Let who may read other new files read this one, or all in this folder: safetensors writes
    for its owner alone.
    """
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if not files:
        return
    with tempfile.TemporaryDirectory(dir=files[0].parent, prefix=PARTIAL) as folder:
        new = Path(folder) / "new"
        new.touch()  # the umask cannot be read without being changed for all threads
        allowed = new.stat().st_mode & 0o666
    for file in files:
        mode = file.stat().st_mode
        if mode & allowed != allowed:
            file.chmod(mode | allowed)


class NumberedReplacement(Replacement):
    """Files in the making that are numbered, ``path`` being their pattern, such as frames/%05d.png.

    They lie in a folder of their own until all are there, and then take the place of all that have
    such names. What a process that was killed left of them is removed.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self._folder = path.with_name(PARTIAL + path.name.replace("%", ""))
        self.partial = self._folder / path.name
        self.discard()
        self._folder.mkdir()

    def keep(self) -> None:
        """Give them their names."""
        for before in numbered_files(self.path).values():
            before.unlink()
        for path in self._folder.iterdir():
            os.replace(path, self.path.with_name(path.name))
        self._folder.rmdir()

    def discard(self) -> None:
        """Remove what there is of them; what was there before stays."""
        shutil.rmtree(self._folder, ignore_errors=True)


def is_numbered(path: Path) -> bool:
    """Whether a name is a pattern for numbered files: it has one %d, or %05d and the like, and no
    other %.

    A ValueError for what looks like one and is none.
    """
    rest = NUMBER.split(path.name)
    if len(rest) == 2 and "%" not in "".join(rest):
        return True
    if len(rest) > 1 or LIKE_NUMBERS.search(path.name):
        raise ValueError(
            f"{path} is no pattern of numbered files: these have one %d, or %05d and the like, in "
            "their name"
        )
    return False


def numbered_files(pattern: Path) -> dict[int, Path]:
    """The files that a pattern stands for, by their numbers, in order."""
    number, parts = NUMBER.findall(pattern.name)[0], NUMBER.split(pattern.name)
    named = re.compile(r"(\d+)".join(map(re.escape, parts)))
    found = [(m[1], path) for path in pattern.parent.glob("*") if (m := named.fullmatch(path.name))]
    return dict(sorted((int(n), path) for n, path in found if number % int(n) == n))


def for_ffmpeg(pattern: Path) -> str:
    """A pattern as FFmpeg reads it: what is a % in the name of a folder is doubled."""
    return f"{pattern.parent}/".replace("%", "%%") + pattern.name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the name to write to; kept at the end, discarded where something goes wrong.

    An OSError that names the file where the disk is full.
    """
    replacement = Replacement(path)
    replacement.discard()
    try:
        yield replacement.partial
        replacement.keep()
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"{path} could not be written ({error}): where the disk is full make room, and give "
            "the same command again"
        ) from error
    finally:
        replacement.discard()


def sealed_above(path: Path) -> Path | None:
    """The sealed folder that a path is, or lies in; None where there is none."""
    path = path.absolute()
    return next((folder for folder in (path, *path.parents) if (folder / SEAL).is_file()), None)


def _check_open(path: Path) -> None:
    """A ValueError for what lies in a checkpoint, in a model that comes with the package and the
    like.
    """
    if sealed := sealed_above(path):
        raise ValueError(
            f"cannot write into {path}: {sealed} is kept as it was written, with checksums of its "
            "files; choose another folder"
        )


def check_apart(target: Path, source: str | Path) -> None:
    """A ValueError where a command would write over what it reads, or over a training run."""
    one, other = target.absolute().resolve(), Path(source).absolute().resolve()
    if other.exists() and one == other:
        raise ValueError(f"cannot write into {target}: it is what is read, choose another folder")
    near = [
        one / "checkpoints",
        *(each for each in (one, one.parent) if each.name == "checkpoints"),
    ]
    if any(any(folder.glob("step-*")) for folder in near):
        raise ValueError(
            f"cannot write into {target}: a training run is there, choose another folder"
        )


def check_replaced(path: str | Path, same: Callable[[dict[str, str]], bool], what: str) -> None:
    """A ValueError where a file of safetensors is there that is not of the kind that is to be
    written.

    ``same`` tells by its metadata.
    """
    if not Path(path).is_file():
        return
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
    except (SafetensorError, OSError):
        facts = {}
    if not same(facts):
        raise ValueError(f"{path} is there already and is not {what}: choose another name")


def check_empty(folder: Path, but: Collection[str] = ()) -> None:
    """A ValueError where a folder holds anything ``but`` files of these names."""
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if foreign := sorted(set(there) - set(but)):
        raise ValueError(
            f"{folder} holds other files, {foreign[0]} among them: choose an empty folder"
        )


def check_folder(path: Path) -> None:
    """A ValueError where no folder can be made, or written into, at ``path``: ask before long
    work.
    """
    _check_open(path)
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise ValueError(f"cannot write into {path}: {there} is a file, choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write into {path}: no permission in {there}")


def check_file(path: str | Path) -> None:
    """A ValueError where no file can be written at ``path``: ask before long work."""
    path = Path(path)
    _check_open(path)
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder, give the name of a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {path}: no permission in {path.parent}")


def write_text(path: Path, text: str) -> None:
    """Write a text file, which several processes may do at once."""
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a file of JSON."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def read_json(path: Path) -> Any:
    """What a file of JSON holds; a ValueError that names the file where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} does not read as JSON ({error}): put back a copy, or begin again in another "
            "folder"
        ) from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that holds one a line; a ValueError that names a line that is none."""
    rows = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"line {number} of {path} does not read ({error}): mend it, or take it out"
            ) from error
    return rows
