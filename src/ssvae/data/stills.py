"""Clips from pictures: a camera that moves over each.

A clip is a pure function of (seed, index), as everywhere. The camera sees a window of the picture;
each pixel of a frame is the mean of what the window's share of it covers, so that nothing aliases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform

from ssvae.data.collection import FileItem
from ssvae.data.opened import NamedBytes, VideoError, VideoFile
from ssvae.data.pixels import of_rgb
from ssvae.data.video import IMAGES, read_frames
from ssvae.data.vocabulary import Vocabulary

PANS = (  # what the camera does, and where it goes: x to the right, y down
    ("pan right", 1, 0),
    ("pan down and right", 1, 1),
    ("pan down", 0, 1),
    ("pan down and left", -1, 1),
    ("pan left", -1, 0),
    ("pan up and left", -1, -1),
    ("pan up", 0, -1),
    ("pan up and right", 1, -1),
)
MOVES = (
    *(f"a {name} over" for name, _, _ in PANS),
    "a zoom into",
    "a zoom out of",
    "a turn left over",
    "a turn right over",
)
ALIKE = ("chessboard_RGB", "motorcycle_right")
"""Pictures that scikit-image carries, and which small clips do not tell from another of them."""
SMALLEST_WINDOW = 0.35
"""The smallest window, as a share of the largest that fits the picture and the move."""
SUBPIXELS = 3
"""Points each way that a pixel is the mean of."""


@dataclass(frozen=True)
class Camera:
    """Where a camera looks in each frame: arrays (T,)."""

    x: np.ndarray
    """Centre of the window, in the picture's pixels from its left edge."""
    y: np.ndarray
    scale: np.ndarray
    """Pixels of the picture to a pixel of the frame."""
    angle: np.ndarray
    """Turn of the camera to the right, in radians."""


@dataclass(frozen=True)
class CameraMoves:
    """What is made of every picture: a clip in which the camera makes one of MOVES.

    A window is at most the whole picture, and no pixel of a frame is smaller than one of the
    picture if the picture has so many. Half of the pictures are mirrored, and exposure and tint
    vary a little. Lengths are in units of the frame's shorter side: over a clip a pan goes 0.25 to
    0.5, a zoom changes the scale 1.3 to 1.7 times, a turn is of 20 to 45 degrees.
    """

    frames: int
    height: int
    width: int
    channels: int = 3
    """See :mod:`ssvae.data.pixels`; alpha is full."""

    def make(self, file: VideoFile, caption: str, draws: np.ndarray) -> tuple[np.ndarray, str]:
        """The clip that these draws (10,) in [0, 1) make: bytes (C, T, H, W), and its caption."""
        remembered = not isinstance(file, NamedBytes)
        levels = _kept_pyramid(Path(file)) if remembered else picture_pyramid(file)
        move = int(draws[0] * len(MOVES))
        height, width, _ = levels[0].shape
        camera = self.camera(move, (height, width), draws[1:5])
        clip = self._filmed(levels, camera, mirrored=draws[5] < 0.5)
        gain = 0.85 + 0.3 * draws[6] + 0.1 * (draws[7:10] - 0.5)  # exposure, and a tint
        clip = np.rint(clip * gain.reshape(3, 1, 1, 1)).clip(0, 255).astype(np.uint8)
        clip = np.moveaxis(of_rgb(np.moveaxis(clip, 0, -1), self.channels), -1, 0)
        return clip, caption if self.frames == 1 else f"{MOVES[move]} {caption}"

    def __str__(self) -> str:
        return f"clips of {self.frames} frames, filmed from pictures,"

    def camera(self, move: int, picture: tuple[int, int], draws: np.ndarray) -> Camera:
        """The way of the camera over a picture (height, width) for draws (4,) in [0, 1)."""
        t = np.linspace(-0.5, 0.5, self.frames) if self.frames > 1 else np.zeros(1)
        amount, size, place_x, place_y = draws.tolist()
        step_x = step_y = 0.0  # frame pixels over the clip
        growth, turn = 1.0, 0.0
        if move < len(PANS):
            _, dx, dy = PANS[move]
            reach = (0.25 + 0.25 * amount) * min(self.height, self.width) / math.hypot(dx, dy)
            step_x, step_y = dx * reach, dy * reach
        elif MOVES[move].startswith("a zoom"):
            growth = (1.3 + 0.4 * amount) ** (-1 if MOVES[move] == "a zoom into" else 1)
        else:
            turn = math.radians(20 + 25 * amount) * (-1 if "left" in MOVES[move] else 1)
        scale, angle = growth**t, turn * t
        # What all windows together cover, in frame pixels at scale 1.
        cos, sin = np.cos(angle), np.abs(np.sin(angle))
        wide = 2 * np.max(scale * (self.width * cos + self.height * sin) / 2 + np.abs(step_x * t))
        high = 2 * np.max(scale * (self.width * sin + self.height * cos) / 2 + np.abs(step_y * t))
        fits = min(picture[1] / wide, picture[0] / high)
        zoom = max(fits * SMALLEST_WINDOW**size, min(1.0, fits))
        middle_x = picture[1] / 2 + (place_x - 0.5) * (picture[1] - zoom * wide)
        middle_y = picture[0] / 2 + (place_y - 0.5) * (picture[0] - zoom * high)
        return Camera(
            x=middle_x + zoom * step_x * t,
            y=middle_y + zoom * step_y * t,
            scale=zoom * scale,
            angle=angle,
        )

    def _filmed(self, levels: list[np.ndarray], camera: Camera, mirrored: bool) -> np.ndarray:
        """What the camera sees, float32 (3, T, H, W) in [0, 255]."""
        # A pixel is two to four of this level's: about as many as it has points.
        level = int(min(max(math.log2(camera.scale.min() / 2), 0), len(levels) - 1))
        picture, pitch = levels[level], 2**level
        if mirrored:
            picture = picture[:, ::-1]
        points = self.height * SUBPIXELS, self.width * SUBPIXELS
        seen = np.empty((3, self.frames, *points), np.float32)
        middle = (np.array(points) - 1) / 2
        for t in range(self.frames):
            # Points of the frame to points of this level, whose pixel i has its centre at i + 1/2.
            cos, sin = math.cos(camera.angle[t]), math.sin(camera.angle[t])
            matrix = np.array([[cos, sin], [-sin, cos]]) * camera.scale[t] / (SUBPIXELS * pitch)
            centre = np.array([camera.y[t], camera.x[t]]) / pitch - 0.5
            for channel in range(3):
                affine_transform(
                    picture[:, :, channel],
                    matrix,
                    offset=centre - matrix @ middle,
                    output=seen[channel, t],
                    order=1,
                    mode="nearest",
                )
        cells = seen.reshape(3, self.frames, self.height, SUBPIXELS, self.width, SUBPIXELS)
        return cells.mean((3, 5))


@lru_cache(maxsize=32)  # 50 MB each where pictures have twelve million pixels
def _kept_pyramid(path: Path) -> list[np.ndarray]:
    return picture_pyramid(path)


def picture_pyramid(file: VideoFile) -> list[np.ndarray]:
    """A picture, bytes (H, W, 3), then the same at half its size, and so on: means of 2 x 2
    pixels.
    """
    image = next(iter(read_frames(file))).image
    if min(image.shape[:2]) < 8:
        raise VideoError(file, "too small", "give pictures with sides of at least 8 pixels")
    levels = [image]
    while min(levels[-1].shape[:2]) >= 16:
        h, w = (side // 2 for side in levels[-1].shape[:2])
        cells = levels[-1][: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3)
        levels.append(np.rint(cells.mean((1, 3))).astype(np.uint8))
    return levels


def name_of(path: Path | str) -> str:
    """What captions call a picture: its file's name in words."""
    return Path(path).stem.replace("_", " ").replace("-", " ").strip().lower()


def stills_vocabulary(pictures: Sequence[FileItem]) -> Vocabulary:
    """What the captions of films of these pictures can say."""
    return Vocabulary(
        source="stills",
        kinds=dict(move=MOVES, picture=tuple(picture.caption for picture in pictures)),
        sentence="{move} {picture}",
        coarse=("picture",),
        fine=("move",),
    )


def carried_pictures() -> list[FileItem]:
    """The pictures that the wheel of scikit-image carries, but for two that look like another.

    Raises:
        ValueError: where the package is not installed.
    """
    try:
        carried = [f for f in files("scikit-image") or [] if f.parent.name == "data"]
    except PackageNotFoundError:
        carried = []
    paths = [Path(str(f.locate())) for f in carried if f.suffix in IMAGES and f.stem not in ALIKE]
    if not paths:
        raise ValueError(
            "stills alone means the pictures that the package scikit-image carries, which is not "
            "installed: pip install 'ssvae[stills]', or name a folder of pictures, stills:FOLDER"
        )
    return [FileItem(path, name_of(path)) for path in sorted(paths)]
