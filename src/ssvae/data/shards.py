"""Shards: tar files in the layout of the published training code, read in place or fetched.

A sample is the members of one name: a video (``.mp4``, ``.avi``, ...) or an image (``.jpg``,
``.png``), and ``.id``, its key. Beside ``NAME.tar`` may lie ``NAME.meta.jsonl``, an object a sample
with its ``key``. Captions are taken from there, or from a member ``.json`` or ``.txt`` (see
:mod:`ssvae.data.captions`). Sizes, rates and lengths in it are not used: the files themselves tell.
"""

import json
import logging
import math
import os
import shutil
import tarfile
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import IO, Any

from webdataset.gopen import gopen
from webdataset.shardlists import expand_urls

from ssvae.data.captions import NOWHERE, Told, of_fields, of_json, of_text
from ssvae.data.collection import ShardError
from ssvae.data.opened import NamedBytes, VideoError, VideoFile
from ssvae.data.video import EXTENSIONS, IMAGES
from ssvae.storage.digests import checksum
from ssvae.storage.distant import DistantError, content_at, fetch, files_at, is_distant

logger = logging.getLogger(__name__)

WAITS = (1.0, 4.0)  # seconds before another try at a shard
FORGET = 300.0  # seconds until a shard that could not be reached is tried again
OPEN = 8  # shards that are kept open
READERS = 8  # shards that are counted at once
PIPES = "SSVAE_ALLOW_PIPES"
MANY = 100  # shards whose counting takes long enough to be announced


@dataclass(frozen=True)
class Sample:
    """Where a sample lies in its shard: (offset, size) of its parts."""

    name: str
    ending: str
    media: tuple[int, int]
    beside: Mapping[str, tuple[int, int]]
    """Members that go with it, by their endings."""


def check_pipe(url: str) -> None:
    """A ValueError for a source that runs a command, unless that is allowed."""
    if url.startswith("pipe:") and os.environ.get(PIPES) != "1":
        raise ValueError(
            f"{url} would run a command in a shell, which is not allowed by default: set {PIPES}=1 "
            "where the command is your own"
        )


def is_shards(name: str) -> bool:
    """Whether a source's name is one of tar files."""
    return name.endswith(".tar") or name.startswith("pipe:")


def expand(pattern: str) -> list[str]:
    """The tar files that a pattern names: braces, wildcards, and URLs."""
    urls = []
    for url in expand_urls(pattern):
        check_pipe(url)
        if "*" in url and not url.startswith("pipe:"):
            urls += files_at(url) if is_distant(url) else sorted(glob(url))
        else:
            urls.append(url)
    if not urls:
        raise ValueError(
            f"no shards match {pattern}: give tar files, such as 'data/{{000..099}}.tar'"
        )
    return urls


def _is_local(url: str) -> bool:
    return not is_distant(url) and not url.startswith("pipe:")


class Opened:
    """A shard that is open: its samples, and its bytes wherever they lie."""

    def __init__(self, url: str, videos_only: bool):
        self.url = url
        self._file = _fetch(url)
        self.samples = _samples(self._file, url, videos_only)
        self._rows = {row["key"]: row for row in _meta(url)}

    def item(self, index: int) -> tuple[VideoFile, str]:
        """A sample's file and its caption."""
        sample = self.samples[index]
        media = NamedBytes(self._bytes(sample.media), f"{self.url}/{sample.name}{sample.ending}")
        return media, self.caption(sample)[0]

    def caption(self, sample: Sample) -> Told:
        """A sample's caption, and where it was found."""
        key = sample.name
        if part := sample.beside.get(".id"):
            key = self._bytes(part).decode(errors="replace").strip()
        caption = of_fields(self._rows.get(key), ".meta.jsonl, field")
        for ending, read in ((".json", of_json), (".txt", of_text)):
            if caption is None and ending in sample.beside:
                caption = read(self._bytes(sample.beside[ending]))
        return caption or ("", NOWHERE)

    def _bytes(self, part: tuple[int, int]) -> bytes:
        offset, size = part
        return os.pread(self._file.fileno(), size, offset)  # several threads may read


class Shards:
    """A shelf of tar files.

    A shard that cannot be reached is an error at first. Where it vanishes later it is tried again
    twice, then named and counted, once, and left alone for five minutes.
    """

    def __init__(self, name: str, urls: Sequence[str], videos_only: bool):
        self.name, self.videos_only = name, videos_only
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._failed: dict[str, tuple[float, ShardError]] = {}
        self._lock = threading.Lock()
        logger.log(
            logging.INFO if len(urls) > MANY else logging.DEBUG,
            "counting the samples of %d shards",
            len(urls),
        )
        with ThreadPoolExecutor(READERS) as pool:
            counts = list(pool.map(self._count, urls))
        self.urls = [url for url, count in zip(urls, counts, strict=True) if count]
        self.lengths: Sequence[int] = [count for count in counts if count]
        if not self.urls:
            kinds = EXTENSIONS if videos_only else EXTENSIONS + IMAGES
            raise ValueError(
                f"no usable sample in {name}: shards hold {' or '.join(kinds)} files, and the "
                "log names what is broken"
            )

    def item(self, shard: int, index: int) -> tuple[VideoFile, str]:
        """A sample's file and its caption."""
        opened = self._opened(shard)
        if not opened.samples:
            raise VideoError(opened.url, "empty shard", "write it again")
        return opened.item(index % len(opened.samples))

    def checksum(self) -> str:
        """Of all shards' names and lengths, and of the names, sizes and captions of local
        samples.
        """
        shards = []
        for url, length in zip(self.urls, self.lengths, strict=True):
            samples: list[Any] = _meta(url)
            if _is_local(url):
                opened = Opened(url, self.videos_only)
                samples = [
                    [sample.name, sample.media[1], opened.caption(sample)[0]]
                    for sample in opened.samples
                ]
            shards.append([url, length, samples])
        return checksum(shards)

    def captions_found(self) -> list[str]:
        """Where the captions of the first shard's samples are found; nothing of a distant one."""
        if not _is_local(self.urls[0]):
            return []
        opened = self._opened(0)
        return [opened.caption(sample)[1] for sample in opened.samples]

    def _count(self, url: str) -> int:
        """Samples of a shard; of a distant one what is said beside it, which is checked later."""
        try:
            if not _is_local(url):
                if caption := len(_meta(url)):
                    return caption
                logger.info("no fields beside %s: it is copied to be counted", url)
            with _fetch(url) as file:
                return len(_samples(file, url, self.videos_only))
        except ShardError:
            raise  # which clips there are must not hang on the hour
        except Exception as error:
            logger.warning("left out the shard %s: %s", url, error)
            return 0

    def _opened(self, shard: int) -> Opened:
        url = self.urls[shard]
        with self._lock:
            lock = self._locks.setdefault(url, threading.Lock())
        with lock:  # one thread opens it, the others wait
            with self._lock:
                if url in self._open:
                    self._open.move_to_end(url)
                    return self._open[url]
            failed, error = self._failed.get(url, (-math.inf, None))
            if error is not None and time.monotonic() < failed + FORGET:
                raise error
            try:
                opened = Opened(url, self.videos_only)
            except ShardError as error:
                self._failed[url] = time.monotonic(), error
                raise
            if len(opened.samples) != self.lengths[shard]:
                logger.warning(
                    "%s holds %d samples, where %d were counted",
                    url,
                    len(opened.samples),
                    self.lengths[shard],
                )
            with self._lock:
                self._open[url] = opened
                while len(self._open) > OPEN:
                    self._open.popitem(last=False)
            return opened


def _fetch(url: str) -> IO[bytes]:
    """A shard as a file that can be read anywhere; a distant one is copied first."""
    if is_distant(url):
        copy = tempfile.TemporaryFile(prefix="ssvae-shard-")  # noqa: SIM115
        try:
            fetch(url, copy)
        except DistantError as error:
            raise ShardError(url, "shard not reached", str(error)) from error
        return copy
    for wait in (*WAITS, None):
        try:
            return _of_pipe(url) if url.startswith("pipe:") else open(url, "rb")
        except Exception as error:
            if wait is None:
                raise ShardError(url, "shard not reached", str(error)) from error
            logger.warning("the shard %s does not open (%s): once more in %g s", url, error, wait)
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _of_pipe(url: str) -> IO[bytes]:
    copy = tempfile.TemporaryFile(prefix="ssvae-shard-")  # noqa: SIM115
    with gopen(url, "rb") as stream:
        shutil.copyfileobj(stream, copy)
    copy.flush()
    return copy


def _samples(file: IO[bytes], url: str, videos_only: bool) -> list[Sample]:
    """The samples of a tar file, in their order."""
    members: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name, dot, ending = member.name.rpartition(".")
                base = name.rpartition("/")[2]
                if member.isfile() and dot and base and not base.startswith("."):
                    part = member.offset_data, member.size
                    members.setdefault(name, {})[f".{ending.lower()}"] = part
    except tarfile.TarError as error:
        if not members:
            raise VideoError(url, "no tar file", str(error)) from error
        logger.warning("%s breaks off (%s): its first %d samples stay", url, error, len(members))
    kinds = EXTENSIONS if videos_only else EXTENSIONS + IMAGES
    shown = {name for name, parts in members.items() if any(ending in parts for ending in kinds)}
    # WebDataset's key ends at the first dot: what has no picture of its own goes with all of that
    # key.
    shared: dict[str, dict[str, tuple[int, int]]] = {}
    for name in [name for name in members if name not in shown]:  # of two alike the first counts
        shared[_key(name)] = members[name] | shared.get(_key(name), {})
    samples = []
    for name in [name for name in members if name in shown]:
        parts = members[name]
        ending = next(ending for ending in kinds if ending in parts)
        samples.append(Sample(name, ending, parts[ending], shared.get(_key(name), {}) | parts))
    return samples


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def meta_of(url: str) -> str:
    """Where the fields of a shard's samples stand."""
    return url.removesuffix(".tar") + ".meta.jsonl"


def _meta(url: str) -> list[dict[str, Any]]:
    """The objects beside a shard that have a key; none where there is no such file."""
    path = meta_of(url)
    if not url.endswith(".tar") or (_is_local(path) and not Path(path).exists()):
        return []
    try:
        content = content_at(path) if is_distant(path) else Path(path).read_bytes()
        lines = content.decode(errors="replace").splitlines()
    except (OSError, DistantError) as error:
        logger.info("no fields beside %s: %s", url, error)
        return []
    rows, broken = [], 0
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("key"), str):
            rows.append(row)
        else:
            broken += bool(line.strip())
    if broken:
        logger.warning("%d lines of %s are no objects with a key", broken, path)
    return rows
