"""Files that lie elsewhere, by their URLs: s3://, gs://, hf://, https:// and all that fsspec opens.

Keys and endpoints are those of each store's own environment variables, such as AWS_ENDPOINT_URL. A
connection that breaks off is taken up where it was, three times with longer waits; what is not
there, or refuses, is an error at once.
"""

import logging
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs

logger = logging.getLogger(__name__)

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
PART = 2**23  # bytes that are asked for at once
WAITS = (0.5, 2.0, 8.0)  # seconds before another try
LATER = (408, 429)  # of HTTP's errors of who asks, those that pass
REFUSED = (401, 403)
BROKEN = ("Connect", "Timeout", "Disconnected", "Payload")
"""In the names of errors that stand for a connection that failed."""


class DistantError(ValueError):
    """A distant file that cannot be had; ``reason`` says why in a word or two."""

    def __init__(self, url: str, reason: str, remedy: str):
        super().__init__(f"{url}: {reason}: {remedy}")
        self.reason = reason


def is_distant(name: object) -> bool:
    """Whether a name is a URL."""
    return bool(URL.match(str(name)))


def files_at(url: str) -> dict[str, str]:
    """All files below a URL, or those of a pattern with ``*``, sorted: each one's own URL, and what
    tells its content from another.

    Raises:
        DistantError: where there is nothing, or the store refuses or does not answer.
    """

    def listed() -> dict[str, dict[str, Any]]:
        fs, path = _opened(url)
        fs.invalidate_cache()
        found: Any = (fs.glob if "*" in path else fs.find)(path, detail=True)
        if not found and "*" not in path:
            fs.info(path)  # says why
        return {fs.unstrip_protocol(name): facts for name, facts in found.items()}

    found = _tried(url, listed)
    if not found:
        raise DistantError(url, "nothing there", "give the URL of a file, or of a folder of files")
    return {name: _version(facts) for name, facts in sorted(found.items())}


def content_at(url: str) -> bytes:
    """A distant file's content; a DistantError where it cannot be had."""
    content = BytesIO()
    fetch(url, content)
    return content.getvalue()


def fetch(url: str, to: IO[bytes]) -> None:
    """Copy a distant file into an empty one; a DistantError where it cannot be had."""

    def copied() -> None:
        fs, path = _opened(url)
        with fs.open(path, "rb", block_size=PART) as file:
            try:
                file.seek(to.tell())
            except ValueError:  # a server that gives no parts begins again
                to.seek(0)
                to.truncate()
            while piece := file.read(PART):
                to.write(piece)
            size = getattr(file, "size", None)
            if size is not None and to.tell() < size:
                raise OSError(f"it broke off after {to.tell()} of {size} bytes")

    _tried(url, copied, progress=to.tell)
    to.flush()


@contextmanager
def here(name: str | Path) -> Iterator[Path]:
    """A file as one on this machine: itself, or a copy of it while it is needed."""
    if not is_distant(name):
        yield Path(name)
        return
    with tempfile.TemporaryDirectory(prefix="ssvae-") as folder:
        copy = Path(folder) / str(name).rpartition("/")[2]
        with open(copy, "w+b") as file:
            fetch(str(name), file)
        yield copy


def _opened(url: str) -> tuple[Any, str]:
    try:
        return url_to_fs(url)
    except ImportError as error:
        raise DistantError(
            url, "a package is missing", "pip install 'ssvae[cloud]' opens it"
        ) from error
    except ValueError as error:
        raise DistantError(url, "no URL that can be opened", str(error)) from error


def _tried(url: str, work: Any, progress: Any = lambda: 0) -> Any:
    """What the work gives, tried again where it fails for a reason that may pass; it counts as
    begun anew where it came further meanwhile.
    """
    waits, reached = iter(WAITS), progress()
    while True:
        try:
            return work()
        except DistantError:
            raise
        except Exception as error:  # of as many kinds as there are stores
            _check_passing(url, error)
            reason = _line(list(_causes(error))[-1])
            if progress() > reached:
                waits, reached = iter(WAITS), progress()
            wait = next(waits, None)
            if wait is None:
                raise DistantError(url, "not reached", reason) from error
            logger.warning("%s fails (%s): once more in %g s", url, reason, wait)
            time.sleep(wait)


def _check_passing(url: str, error: Exception) -> None:
    """A DistantError for what another try would not mend."""
    causes = list(_causes(error))
    kinds = [type(cause).__name__ for cause in causes]
    status = next((cause.status for cause in causes if getattr(cause, "status", 0)), 0)  # of HTTP
    if any(word in kind for kind in kinds for word in BROKEN) or status >= 500 or status in LATER:
        return
    refused = any(isinstance(cause, PermissionError) for cause in causes) or status in REFUSED
    if refused or any("Credentials" in kind for kind in kinds):
        remedy = f"look at the keys and the endpoint in the environment ({_line(causes[-1])})"
        raise DistantError(url, "refused", remedy) from error
    missing = any(isinstance(cause, FileNotFoundError) for cause in causes)
    if missing or any(kind.endswith("NotFoundError") for kind in kinds):
        raise DistantError(url, "not there", "look for what is there instead") from error
    if status or isinstance(error, ValueError):
        raise DistantError(url, "refused", _line(causes[-1])) from error


def _causes(error: BaseException | None) -> Iterator[Any]:
    """An error and what it came of: stores' clients say "not found" of all kinds of things."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _version(facts: dict[str, Any]) -> str:
    """Of a file's content, as its store tells it."""
    told = [facts.get(key) for key in ("size", "ETag", "etag", "md5Hash", "blob_id", "mtime")]
    return " ".join(str(each) for each in told if each is not None)
