"""What stands upright: quarter turns and mirrorings that videos and pictures ask for."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssvae.data.pyav import av


@dataclass(frozen=True)
class Turn:
    """What makes a frame upright: its sides change places, then rows, then columns are reversed."""

    transposed: bool = False
    rows: bool = False
    columns: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Turn:
        """By the display matrix, which takes (x, y) to (a x + c y, b x + d y); to quarter turns."""
        package: Any = av
        found: Any = frame.side_data.get(package.sidedata.sidedata.Type.DISPLAYMATRIX)
        if found is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(found), "<i4")[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, rows=d < 0, columns=a < 0)
        return cls(True, rows=b < 0, columns=c < 0)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """An image (H, W, 3), upright."""
        image = image.swapaxes(0, 1) if self.transposed else image
        return image[:: -1 if self.rows else 1, :: -1 if self.columns else 1]


EXIF_ORIENTATION = 0x0112
EXIF_TURNS = {  # by the orientation's number
    2: Turn(columns=True),
    3: Turn(rows=True, columns=True),
    4: Turn(rows=True),
    5: Turn(transposed=True),
    6: Turn(transposed=True, columns=True),
    7: Turn(transposed=True, rows=True, columns=True),
    8: Turn(transposed=True, rows=True),
}


def exif_turn(file: str | Path | BytesIO) -> Turn:
    """How the camera was held, which PyAV does not tell of pictures."""
    try:
        with Image.open(BytesIO(file.getvalue()) if isinstance(file, BytesIO) else file) as image:
            return EXIF_TURNS.get(image.getexif().get(EXIF_ORIENTATION, 1), Turn())
    except (OSError, ValueError, SyntaxError):  # what FFmpeg reads and Pillow does not has none
        return Turn()
