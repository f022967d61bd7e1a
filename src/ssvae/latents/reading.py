"""Latents that lie in files, whoever wrote them: caches, safetensors, NumPy's arrays, and tar files
of these.
"""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from ssvae.data.shards import expand, is_shards
from ssvae.inference.latent_file import FORMAT, LatentFile
from ssvae.latents.cache import BUCKETS, LatentCache

ENDINGS = (".safetensors", ".npy")
NAME = "latents"
"""The tensor of a safetensors file that is read; where there is none of that name, its only one."""
AT_ONCE = 64  # clips


@dataclass(frozen=True)
class StoredLatents:
    """Latents in files."""

    batches: Callable[[], Iterator[torch.Tensor]]
    """(B, C, t, h, w), in their order."""
    captions: Sequence[str] = ()
    data: str = ""
    """The source of the clips, where that is known."""
    first_frame_alone: bool | None = None
    """Whether the first latent frame stands for one frame of video, where that is known."""


def are_latents(name: str) -> bool:
    """Whether a name is of latents, and not of a model."""
    path = Path(name)
    if path.is_dir():
        return any((path / name).is_file() for name in ("index.json", BUCKETS))
    if path.suffix in (".npy", ".tar") or (path.suffix in ENDINGS and not path.exists()):
        return True
    return path.suffix in ENDINGS and _names(path) is not None


def open_latents(name: str) -> StoredLatents:
    """Latents by the name of where they lie.

    Args:
        name: a cache of ``ssvae cache-latents``; a file of ``ssvae encode``; a .npy or .safetensors
            file of an array (N, C, t, h, w); or tar files of such files, which may be (C, t, h, w)
            of a clip each.

    Raises:
        ValueError: where there are none, or an array has another number of axes.
    """
    path = Path(name)
    if path.is_dir():
        cache = LatentCache(path)
        config = cache.config
        return StoredLatents(
            lambda: cache.batches(AT_ONCE), cache.captions, config.data, config.first_frame_alone
        )
    if is_shards(name):
        urls = expand(name)
        return StoredLatents(lambda: _of_tars(urls))
    if path.suffix in ENDINGS and not path.exists():
        raise ValueError(f"there is no file {name}")
    if path.suffix not in ENDINGS or not path.is_file():
        raise ValueError(
            f"latents lie in a cache, in tar files, or in a file {', '.join(ENDINGS)}, got {name}"
        )
    return StoredLatents(lambda: _of_file(path))


def _names(path: Path) -> list[str] | None:
    """The tensors of a safetensors file of latents; None where it is another, as a model's weights
    are.
    """
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError):
        return None
    return names if NAME in names or len(names) == 1 else None


def _of_file(path: Path) -> Iterator[torch.Tensor]:
    if path.suffix == ".safetensors" and _format(path) == FORMAT:
        film = LatentFile(path)
        yield film.latents(0, film.shape[0])[None].float()
        return
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path} does not open: {error}") from error
        _check(array.shape, str(path))
        for start in range(0, len(array), AT_ONCE):
            yield torch.from_numpy(np.array(array[start : start + AT_ONCE])).float()
        return
    tensor = _tensor(path.read_bytes(), path.suffix, str(path))
    _check(tuple(tensor.shape), str(path))
    yield from tensor.float().split(AT_ONCE)


def _format(path: Path) -> str | None:
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("format")


def _of_tars(urls: Sequence[str]) -> Iterator[torch.Tensor]:
    """The clips of all members that hold arrays, one by one: their number may be large."""
    found = 0
    for url in urls:
        try:
            with tarfile.open(url) as tar:
                for member in tar:
                    ending = Path(member.name).suffix
                    file = tar.extractfile(member) if ending in ENDINGS else None
                    if file is not None:
                        place = f"{url}/{member.name}"
                        yield _clips(_tensor(file.read(), ending, place), place)
                        found += 1
        except (tarfile.TarError, OSError) as error:
            raise ValueError(f"{url} does not open: {error}") from error
    if not found:
        raise ValueError(f"{urls[0]} has no members {', '.join(ENDINGS)}")


def _tensor(content: bytes, ending: str, place: str) -> torch.Tensor:
    """The array of a file."""
    try:
        if ending == ".npy":
            return torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False))
        held = load(content)
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{place} does not open: {error}") from error
    if NAME not in held and len(held) != 1:
        raise ValueError(f"{place} must hold one tensor, or one called {NAME}; got {len(held)}")
    return held[NAME] if NAME in held else next(iter(held.values()))


def _clips(tensor: torch.Tensor, place: str) -> torch.Tensor:
    clips = tensor[None] if tensor.ndim == 4 else tensor
    _check(tuple(clips.shape), place)
    return clips.float()


def _check(shape: tuple[int, ...], place: str) -> None:
    if len(shape) != 5:
        raise ValueError(
            f"latents must be (clips, channels, frames, height, width), those in {place} are "
            f"{shape}: give images one frame each, z[:, :, None], and one clip a first axis, "
            "z[None]"
        )
