"""Films with alpha of every kind through `reconstruct`, by a model of four channels."""

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from chamber import MODEL, command

from ssvae.data.opened import VideoError
from ssvae.data.video import read_frames
from ssvae.models.channels import with_channels
from ssvae.models.finding import load_vae

pytestmark = [pytest.mark.slow, pytest.mark.torture]
KINDS = {
    "mov": (("prores_ks", "yuva444p10le"), ("qtrle", "argb"), ("png", "rgba")),
    "mkv": (("ffv1", "bgra"), ("ffv1", "yuva420p"), ("ffv1", "yuva444p16le"), ("png", "rgba64be")),
    "webm": (("libvpx", "yuva420p"), ("libvpx-vp9", "yuva420p")),
    "png": (("apng", "rgba"), ("apng", "ya8"), ("apng", "rgba64be"), ("apng", "gray16be")),
    "gif": (("gif", "bgr8"),),
}
TARGETS = ("mov", "mkv", "webm", "png", "mp4")
CASES = 60


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A model of four channels that makes alpha of how bright its clips are."""
    folder = tmp_path_factory.mktemp("wide")
    vae = with_channels(load_vae(MODEL), 4)
    weight, bias = vae.decoder.conv_out.weight.data, vae.decoder.conv_out.bias
    pixels = len(weight) // 4
    weight[3 * pixels :] = weight[:pixels]
    assert bias is not None
    bias.data[3 * pixels :] = bias.data[:pixels]
    vae.save_pretrained(folder)
    return folder


def drawn(seed: int) -> dict:
    """A film that a seed describes."""
    draw = random.Random(f"alpha {seed}")
    container = draw.choice(list(KINDS))
    codec, pixels = draw.choice(KINDS[container])
    return dict(
        container=container, codec=codec, pixels=pixels,
        size=(draw.choice((16, 33, 50, 96)), draw.choice((16, 31, 66, 97))),
        rate=draw.choice((Fraction(8), Fraction(30000, 1001), Fraction(50))),
        frames=draw.choice((1, 2, 5, 10)), target=draw.choice(TARGETS),
    )  # fmt: skip


def make(path: Path, case: dict) -> None:
    height, width = case["size"]
    y, x = np.mgrid[:height, :width]
    kind = "apng" if case["container"] == "png" else None
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(case["codec"], rate=case["rate"])
        stream.width, stream.height, stream.pix_fmt = width, height, case["pixels"]
        if case["codec"].startswith("libvpx"):
            stream.options = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0"}
        for i in range(case["frames"]):
            alpha = np.where(x < width / 2 + i, 255, 255 * y / height)
            image = np.stack([0 * x + 200, 0 * x + 90, 255 * x / width, alpha], -1)
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgba")
            container.mux(stream.encode(frame.reformat(format=case["pixels"])))
        container.mux(stream.encode())


@pytest.mark.parametrize("seed", range(CASES))
def test_alpha_films_of_every_kind(seed, wide, tmp_path):
    case, folder = drawn(seed), tmp_path / "work"
    folder.mkdir()
    source, target = folder / f"in.{case['container']}", f"out.{case['target']}"
    try:
        make(source, case)
        readable = list(read_frames(source, channels=4))
    except (av.FFmpegError, ValueError, VideoError) as error:
        pytest.skip(f"FFmpeg makes none of it: {error}")
    done = command("reconstruct", source.name, target, "--model", wide, folder=folder)
    if case["target"] == "mp4":
        assert done.refused("holds no alpha")
        return
    assert done.held(), done.said
    made = list(read_frames(folder / target, channels=4))
    assert len(made) == len(readable) == case["frames"], case
    for one, other in zip(made, readable, strict=True):
        assert one.image.shape == other.image.shape, case
        assert (one.image[..., :3] <= one.image[..., 3:]).all()
        begin = one.time - made[0].time, other.time - readable[0].time
        assert abs(begin[0] - begin[1]) < 0.02, case
