"""A video's latents in a safetensors file that is written and read piece by piece.

It holds ``latents`` (t, C, h, w), time first so that frames can be added; ``times``, the seconds at
which each frame of the video is shown; ``sound``, the bytes of a file with the sound track alone,
where there is one; and in its metadata what else it takes to write the video again.
"""

import dataclasses
import json
import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ssvae.storage.files import Replacement, check_file, check_replaced

HEADER_BYTES = 4096  # reserved before the data, for the shapes are known after it
FORMAT = "ssvae latents 1"
LONGEST = 1e7  # seconds, some months
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}


@dataclass(frozen=True)
class VideoFacts:
    """What latents do not say about the video that they are of."""

    height: int
    width: int
    fps: Fraction
    time_base: Fraction
    pixel_aspect: Fraction = Fraction(1)
    encoder: str = ""
    """The fingerprint of the VAE's latents; where empty, nothing is known of it."""
    last: float = 0.0
    """Seconds for which the last frame is shown; 0 where that is not known."""


class LatentWriter:
    """Write latents piece by piece. Used as a context manager; the file appears when it is whole.

    Args:
        path: ends in .safetensors.
        facts: of the video.
    """

    def __init__(self, path: str | Path, facts: VideoFacts):
        self.path, self._facts = Path(path), facts
        if self.path.suffix != ".safetensors":
            raise ValueError(f"latents go into NAME.safetensors, got {path}")
        check_file(path)
        check_replaced(path, lambda facts: facts.get("format") == FORMAT, "a video's latents")
        self._replacement = Replacement(self.path)
        self._dtype, self._frames, self._size = torch.float32, 0, ()

    def __enter__(self) -> "LatentWriter":
        try:
            self._file = open(self._replacement.partial, "wb")
        except OSError as error:
            raise ValueError(f"cannot write {self.path}: {error.strerror}") from error
        self._file.seek(8 + HEADER_BYTES)
        return self

    def write(self, z: torch.Tensor) -> None:
        """Add latents (C, t, h, w)."""
        frames = z.detach().transpose(0, 1).contiguous().cpu()
        self._dtype, self._size = frames.dtype, tuple(frames.shape[1:])
        self._frames += len(frames)
        # Flat, for axes of length 1 may have any strides.
        self._append(frames.flatten().view(torch.uint8).numpy().data)

    def finish(self, times: list[float], sound: bytes | None, last: float = 0.0) -> None:
        """Add what comes after the latents, and the header that says where all is.

        ``last`` is for how many seconds the last frame is shown.
        """
        facts = dataclasses.replace(self._facts, last=last)
        parts = [("times", "F64", [len(times)], np.asarray(times, "<f8").tobytes())]
        if sound is not None:
            parts.append(("sound", "U8", [len(sound)], sound))
        at = self._file.tell() - 8 - HEADER_BYTES
        header: dict = {
            "__metadata__": {"format": FORMAT}
            | {field: str(value) for field, value in dataclasses.asdict(facts).items()},
            "latents": dict(
                dtype=_DTYPES[self._dtype], shape=[self._frames, *self._size], data_offsets=[0, at]
            ),
        }
        for name, dtype, shape, content in parts:
            header[name] = dict(dtype=dtype, shape=shape, data_offsets=[at, at + len(content)])
            self._append(content)
            at += len(content)
        self._file.seek(0)
        self._file.write(struct.pack("<Q", HEADER_BYTES))
        self._file.write(json.dumps(header).encode().ljust(HEADER_BYTES))

    def _append(self, content: Any) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise OSError(
                f"{self.path} could not be written ({error.strerror}): where the disk is full make "
                "room"
            ) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        try:
            if kind is None:
                self._replacement.keep()
        finally:
            self._replacement.discard()


class LatentFile:
    """Read what :class:`LatentWriter` wrote; latents stay on the disk until they are asked for."""

    def __init__(self, path: str | Path):
        if not Path(path).is_file():
            raise ValueError(f"no latents at {path}: ssvae encode writes them")
        try:
            self._open = safe_open(str(path), "pt")
            facts = self._open.metadata() or {}
            if facts.get("format") != FORMAT:
                raise ValueError("it does not say that it holds a video's latents")
            self.facts = VideoFacts(
                int(facts["height"]),
                int(facts["width"]),
                Fraction(facts["fps"]),
                Fraction(facts["time_base"]),
                Fraction(facts.get("pixel_aspect", 1)),
                facts.get("encoder", ""),
                float(facts.get("last", 0)),
            )
            self.shape: tuple[int, ...] = tuple(self._open.get_slice("latents").get_shape())
            """(t, C, h, w)."""
            self.times: list[float] = self._open.get_tensor("times").tolist()
        except (SafetensorError, KeyError, ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{path} does not read as latents: {error}") from error
        if wrong := self._problems():
            raise ValueError(f"{path} does not read as latents: {'; '.join(wrong)}")
        self._path = path
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            described = json.loads(file.read(length))["latents"]
        self._begin = 8 + length + described["data_offsets"][0]
        named = {name: dtype for dtype, name in _DTYPES.items()}
        if described["dtype"] not in named:
            raise ValueError(
                f"{path} holds latents in {described['dtype']}, but {', '.join(named)} are read: "
                "write them in one of these"
            )
        self._dtype = named[described["dtype"]]

    def _problems(self) -> list[str]:
        """All that no video's latents would say of themselves."""
        facts, times = self.facts, np.asarray(self.times)
        wrong = [
            f"{name} must be at least 1, got {getattr(facts, name)}"
            for name in ("height", "width")
            if getattr(facts, name) < 1
        ]
        wrong += [
            f"{name} must be positive, got {getattr(facts, name)}"
            for name in ("fps", "time_base", "pixel_aspect")
            if getattr(facts, name) <= 0
        ]
        if len(self.shape) != 4:
            wrong.append(f"latents must be (frames, channels, height, width), got {self.shape}")
        if times.ndim != 1:
            wrong.append(f"times must be one number a frame, got {times.shape}")
        elif not np.isfinite(times).all():
            wrong.append("times must be finite")
        elif (np.abs(times) > LONGEST).any():
            wrong.append(
                f"times must be in seconds, within {LONGEST:g}, got {times.tolist()[-1]:g}"
            )
        elif (np.diff(times) < 0).any():
            wrong.append("times must rise")
        return wrong

    def latents(self, start: int, stop: int) -> torch.Tensor:
        """Latents (C, t, h, w) from one latent frame to before another."""
        # Read, not mapped: of a mapped file all that was read stays in the process's memory.
        values = math.prod(self.shape[1:])
        with open(self._path, "rb") as file:
            file.seek(self._begin + start * values * self._dtype.itemsize)
            content = bytearray(file.read((stop - start) * values * self._dtype.itemsize))
        return (
            torch.frombuffer(content, dtype=self._dtype).view(-1, *self.shape[1:]).transpose(0, 1)
        )

    def sound(self) -> bytes | None:
        """The sound track, as a file of its own."""
        if "sound" not in self._open.keys():  # noqa: SIM118 - no dictionary
            return None
        return self._open.get_tensor("sound").numpy().tobytes()
