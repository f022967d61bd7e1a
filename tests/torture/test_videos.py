"""Videos of every kind through `reconstruct`: containers, codecs, pixel formats, sound, turns,
rates.
"""

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from chamber import MODEL, command

from ssvae.data.opened import VideoError
from ssvae.data.video import probe, read_frames

pytestmark = [pytest.mark.slow, pytest.mark.torture]
CONTAINERS = {
    "mp4": ("libx264", "mpeg4", "libx265"),
    "mov": ("libx264", "mpeg4", "mjpeg"),
    "mkv": ("libx264", "ffv1", "mpeg4", "libvpx-vp9", "mjpeg", "libx265"),
    "webm": ("libvpx", "libvpx-vp9"),
    "avi": ("mpeg4", "mjpeg", "ffv1"),
    "ts": ("libx264", "mpeg2video"),
    "mpg": ("mpeg2video", "mpeg1video"),
}
PIXELS = {
    "libx264": ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "gray"),
    "libx265": ("yuv420p", "yuv444p", "yuv420p10le"),
    "ffv1": ("yuv420p", "yuv444p", "bgr0", "yuv422p10le", "gray", "yuva420p", "gray16le"),
    "libvpx-vp9": ("yuv420p", "yuv444p", "yuva420p"),
    "mjpeg": ("yuvj420p", "yuvj422p", "yuvj444p"),
}
SOUND = {
    "mp4": ("aac", "libmp3lame", "ac3"),
    "mov": ("aac", "pcm_s16le"),
    "mkv": ("aac", "flac", "libopus", "pcm_s16le", "libvorbis"),
    "webm": ("libopus", "libvorbis"),
    "avi": ("libmp3lame", "pcm_s16le"),
    "ts": ("aac", "mp2"),
    "mpg": ("mp2",),
}
CASES = 300


def drawn(seed: int) -> dict:
    """A video that a seed describes."""
    draw = random.Random(seed)
    container = draw.choice(list(CONTAINERS))
    codec = draw.choice(CONTAINERS[container])
    standard = codec in ("mpeg1video", "mpeg2video")
    return dict(
        container=container,
        codec=codec,
        pixels=draw.choice(PIXELS.get(codec, ("yuv420p",))),
        size=(draw.choice((16, 34, 48, 50, 96)), draw.choice((16, 30, 64, 66, 98))),
        rate=Fraction(25)
        if standard
        else draw.choice((Fraction(8), Fraction(30000, 1001), Fraction(60), Fraction(1))),
        frames=draw.choice((1, 2, 5, 9, 14)),
        sound=draw.choice((None, *SOUND[container])),
        sound_rate=draw.choice((44_100, 48_000)),
        layout=draw.choice(("mono", "stereo")),
        target=draw.choice(("mp4", "mkv", "mov", "webm")),
        variable=container == "mkv" and draw.random() < 0.4,
    )


def picture(i: int, size: tuple[int, int]) -> np.ndarray:
    """A smooth frame whose grey tells its number."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    ramp = 60 + 80 * x / width + 60 * y / height + 2 * i
    return np.repeat(ramp[..., None], 3, 2).astype(np.uint8)


def make(path: Path, case: dict) -> list[float]:
    """Write it; the times of its frames, in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(case["codec"], rate=case["rate"])
        stream.height, stream.width = case["size"]
        stream.pix_fmt = case["pixels"]
        if case["codec"].startswith("libvpx"):
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        sound = None
        if case["sound"]:
            sound = container.add_stream(
                case["sound"], rate=case["sound_rate"], layout=case["layout"]
            )
        base, times = stream.time_base or 1 / case["rate"], []
        step = 0
        for i in range(case["frames"]):
            frame = av.VideoFrame.from_ndarray(picture(i, case["size"]), format="rgb24")
            frame.pts, frame.time_base = step, 1 / case["rate"]
            times.append(float(step / case["rate"]))
            step += 1 + (i % 3 if case["variable"] else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            length = case["frames"] / float(case["rate"])
            count = int(case["sound_rate"] * length) + 1
            wave = np.sin(np.arange(count) * 440 * 6.283 / case["sound_rate"]).astype(np.float32)
            channels = 1 if case["layout"] == "mono" else 2
            kind = sound.format.name
            values = (wave * 20_000).astype(np.int16) if kind.startswith("s16") else wave
            if kind.startswith("s32"):
                values = (wave * 2**30).astype(np.int32)
            planar = kind.endswith("p")
            rows = np.stack([values] * channels) if planar else np.repeat(values, channels)[None]
            data = av.AudioFrame.from_ndarray(rows, format=kind, layout=case["layout"])
            data.sample_rate, data.pts = case["sound_rate"], 0
            fifo = av.AudioFifo()
            fifo.write(data)
            size = sound.codec_context.frame_size or 1024
            while piece := fifo.read(size, partial=True):
                container.mux(sound.encode(piece))
            container.mux(sound.encode())
        del base
    return times


@pytest.mark.parametrize("seed", range(CASES))
def test_videos_of_every_kind(seed, tmp_path):
    case, folder = drawn(seed), tmp_path / "work"
    folder.mkdir()
    source, target = folder / f"in.{case['container']}", f"out.{case['target']}"
    try:
        make(source, case)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"FFmpeg makes none of it: {error}")
    try:
        readable = list(read_frames(source))
    except VideoError:  # some containers hold nothing of a single frame
        refused = command("reconstruct", source.name, target, "--model", MODEL, folder=folder)
        assert refused.refused(source.name)
        return
    before = probe(source)
    done = command("reconstruct", source.name, target, "--model", MODEL, folder=folder)
    if done.status == 2:
        assert done.refused(), done.said
        assert case["target"] == "webm" or "sound" in done.said, f"{case}: {done.said}"
        return
    assert done.held()
    made = list(read_frames(folder / target))
    assert len(made) == len(readable) == case["frames"], case
    after = probe(folder / target)
    assert (after.height, after.width) == (before.height, before.width)
    begin = made[0].time, readable[0].time
    for one, other in zip(made, readable, strict=True):
        assert abs((one.time - begin[0]) - (other.time - begin[1])) < 0.02, case
        assert abs(float(one.image.mean()) - float(other.image.mean())) < 12, case
    assert after.has_audio == before.has_audio, case
