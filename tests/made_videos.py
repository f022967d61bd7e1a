"""Videos that tests make: their frames tell their number."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ssvae.data.video_writer import VideoWriter


def images(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames that tell their number: a moving ramp, and a grey of 5 * index in the corner."""
    y, x = np.mgrid[:height, :width]
    made = []
    for i in range(count):
        image = np.stack([(x * 4 + i * 8) % 256, (y * 4) % 256, (x + y) % 256], -1).astype(np.uint8)
        image[: height // 2, : width // 2] = 5 * i % 256
        made.append(image)
    return made


def write(path: Path, count=20, height=48, width=64, fps=10, times=None, time_base=None) -> Path:
    with VideoWriter(path, width, height, fps, time_base) as writer:
        for i, image in enumerate(images(count, height, width)):
            writer.write(image, None if times is None else times[i])
    return path


def frame_number(image: np.ndarray) -> int:
    """Which frame of :func:`images` this is."""
    height, width = image.shape[:2]
    return round(float(image[4 : height // 2 - 4, 4 : width // 2 - 4].mean()) / 5)


def add_sound(path: Path, target: Path, seconds: float) -> Path:
    """Copy a video and lay a tone beside it."""
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        video = source.streams.video[0]
        copy = out.add_stream_from_template(video)
        sound = out.add_stream("aac", rate=16000)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
        wave = np.sin(np.arange(int(16000 * seconds)) * 0.2).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    return target
