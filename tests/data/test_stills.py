import numpy as np
import pytest
import torch
from matplotlib.image import imsave

from ssvae.data import open_fixed, open_source
from ssvae.data.collection import DRAWS
from ssvae.data.sources import count_files
from ssvae.data.stills import MOVES, PANS, CameraMoves, carried_pictures

RAMP_HEIGHT, RAMP_WIDTH = 200, 250


@pytest.fixture
def ramp(tmp_path):
    """A picture whose red is the place from the left in pixels, its green that from the top."""
    y, x = np.mgrid[:RAMP_HEIGHT, :RAMP_WIDTH]
    image = np.stack([x, y, np.full_like(x, 128)], -1).astype(np.uint8)
    imsave(tmp_path / "a_ramp.png", image)
    return tmp_path / "a_ramp.png"


def drawn(move, seed=0, mirrored=False):
    """Draws for a move: no mirror unless asked for, exposure and tint as they are."""
    draws = np.random.default_rng(seed).random(DRAWS)
    draws[0] = (move + 0.5) / len(MOVES)
    draws[5:] = (0.25 if mirrored else 0.75), 0.5, 0.5, 0.5, 0.5
    return draws


def places(clip):
    """Where on the ramp each pixel of a clip looks: x and y (T, H, W)."""
    return clip[0].astype(float), clip[1].astype(float)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("move", range(len(PANS)))
def test_a_pan_goes_where_it_says(ramp, move, seed):
    maker = CameraMoves(9, 32, 40)
    clip, caption = maker.make(ramp, "a ramp", drawn(move, seed))
    name, dx, dy = PANS[move]
    assert caption == f"a {name} over a ramp"
    x, y = places(clip)
    pitch = np.diff(x, axis=2).mean()
    assert np.diff(y, axis=1).mean() == pytest.approx(pitch, abs=0.05)
    # In a step all pixels go the same way; over the clip 0.25 to 0.5 of the shorter side.
    way = np.array([x[-1].mean() - x[0].mean(), y[-1].mean() - y[0].mean()]) / pitch
    assert np.hypot(*way) == pytest.approx(12, abs=4.5)
    np.testing.assert_allclose(
        way / np.hypot(*way), np.array([dx, dy]) / np.hypot(dx, dy), atol=0.03
    )
    steps = np.diff(x.mean((1, 2))), np.diff(y.mean((1, 2)))
    assert max(np.ptp(steps[0]), np.ptp(steps[1])) < 1.01  # to a byte


def test_a_zoom_and_a_turn_stay_where_they_are(ramp):
    maker = CameraMoves(9, 32, 32)
    for move, caption in enumerate(MOVES[len(PANS) :], len(PANS)):
        x, y = places(maker.make(ramp, "a ramp", drawn(move))[0])
        assert abs(x[0].mean() - x[-1].mean()) < 1
        assert abs(y[0].mean() - y[-1].mean()) < 1
        along, across = np.diff(x, axis=2).mean((1, 2)), np.diff(y, axis=2).mean((1, 2))
        pitch, angle = np.hypot(along, across), np.degrees(np.arctan2(across, along))
        if "zoom" in caption:
            ratio = pitch[0] / pitch[-1] if "into" in caption else pitch[-1] / pitch[0]
            assert 1.25 < ratio < 1.75
            assert np.abs(angle).max() < 1
        else:
            # y points down, so that a turn to the right is a rising angle.
            turned = (angle[-1] - angle[0]) * (1 if "right" in caption else -1)
            assert 19 < turned < 46
            assert np.ptp(pitch) < 0.1


def test_windows_stay_on_the_picture(ramp):
    """At the edge the nearest pixel would be repeated, and differences vanish."""
    maker, rng = CameraMoves(9, 32, 48), np.random.default_rng(1)
    scales = []
    for _ in range(100):
        draws = rng.random(DRAWS)
        camera = maker.camera(int(draws[0] * len(MOVES)), (RAMP_HEIGHT, RAMP_WIDTH), draws[1:5])
        for t in range(9):
            cos, sin = np.cos(camera.angle[t]), np.abs(np.sin(camera.angle[t]))
            wide = camera.scale[t] * (48 * cos + 32 * sin) / 2
            high = camera.scale[t] * (48 * sin + 32 * cos) / 2
            assert camera.x[t] - wide > -1e-9
            assert camera.x[t] + wide < RAMP_WIDTH + 1e-9
            assert camera.y[t] - high > -1e-9
            assert camera.y[t] + high < RAMP_HEIGHT + 1e-9
        scales.append(camera.scale.mean())
    assert min(scales) > 0.75
    assert max(scales) > 3.5


def test_mirrored_pictures_do_not_mirror_the_move(ramp):
    maker = CameraMoves(9, 32, 32)
    right = next(move for move, pan in enumerate(PANS) if pan[0] == "pan right")
    x, _ = places(maker.make(ramp, "", drawn(right, mirrored=True))[0])
    assert np.diff(x, axis=2).mean() < 0  # it looks at the ramp from behind
    assert x[-1].mean() < x[0].mean()  # and still goes to its own right


def test_nothing_aliases(tmp_path):
    """A chessboard of single pixels, seen from afar, is grey in every frame."""
    board = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    imsave(tmp_path / "board.png", np.stack([board] * 3, -1))
    maker = CameraMoves(5, 32, 32)
    for move in range(len(MOVES)):
        draws = drawn(move)
        draws[2] = 0.0  # the largest window
        clip, _ = maker.make(tmp_path / "board.png", "", draws)
        assert np.abs(clip.astype(float) - 127.5).max() < 4


def test_a_pixel_is_the_mean_of_what_it_covers(tmp_path):
    """Against the mean of a hundred points of the picture itself, on soft noise."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (128, 128, 3)).astype(np.uint8)
    imsave(tmp_path / "noise.png", image)
    maker = CameraMoves(3, 16, 16)
    draws = drawn(len(MOVES) - 1)
    draws[2] = 0.0
    clip, _ = maker.make(tmp_path / "noise.png", "", draws)
    camera = maker.camera(len(MOVES) - 1, (128, 128), draws[1:5])
    sub = 12
    offsets = (np.arange(16 * sub) + 0.5) / sub - 8
    for t in range(3):
        cos, sin = np.cos(camera.angle[t]), np.sin(camera.angle[t])
        fy, fx = np.meshgrid(offsets, offsets, indexing="ij")
        x = camera.x[t] + camera.scale[t] * (cos * fx - sin * fy)
        y = camera.y[t] + camera.scale[t] * (sin * fx + cos * fy)
        seen = image[y.astype(int), x.astype(int)].astype(float)
        true = seen.reshape(16, sub, 16, sub, 3).mean((1, 3)).transpose(2, 0, 1)
        error = clip[:, t] - true
        # The filter is a little wider than a pixel: most of what is there, in its place.
        assert np.corrcoef(clip[:, t].ravel(), true.ravel())[0, 1] > 0.9
        assert np.abs(error).mean() < 0.7 * np.abs(true - 127.5).mean()


def test_a_source_like_any_other(tmp_path, ramp):
    (tmp_path / "broken.jpg").write_bytes(b"junk")
    source = open_source(f"stills:{tmp_path}", 9, 32, 32, seed=3)
    batch = source.batch(range(8))
    assert batch.video.dtype == torch.uint8
    assert batch.video.shape == (8, 3, 9, 32, 32)
    assert all(caption.endswith(" a ramp") for caption in batch.captions)
    again = open_source(f"stills:{tmp_path}", 9, 32, 32, seed=3).batch([5])
    assert torch.equal(again.video[0], batch.video[5])
    other = open_source(f"stills:{tmp_path}", 9, 32, 32, seed=4).batch([5])
    assert not torch.equal(other.video[0], batch.video[5])
    mixed = open_source(f"stills:{tmp_path}:3,world:1", 9, 32, 32).batch(range(4))
    assert sum("ramp" in caption for caption in mixed.captions) == 3
    assert count_files(f"stills:{tmp_path}", 9) is None
    (clips,) = open_fixed(f"stills:{tmp_path}", 4, 9, 32, 32, seed=3).batches(8)
    torch.testing.assert_close(clips.video, batch.on()[:4])
    assert len(set(clips.names)) == 4
    assert open_source(f"stills:{tmp_path}", 1, 32, 32).batch([0]).captions == ["a ramp"]


def test_what_holds_no_picture(tmp_path):
    with pytest.raises(ValueError, match="no file or folder"):
        open_source(f"stills:{tmp_path / 'nowhere'}", 9, 32, 32)
    (tmp_path / "film.mp4").write_bytes(b"junk")
    with pytest.raises(ValueError, match="no pictures in"):
        open_source(f"stills:{tmp_path}", 9, 32, 32)
    imsave(tmp_path / "tiny.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="too small"):
        open_source(f"stills:{tmp_path}", 9, 32, 32).batch([0])


@pytest.mark.quick
def test_the_pictures_of_scikit_image():
    pictures = carried_pictures()
    names = [picture.caption for picture in pictures]
    assert len(names) == len(set(names)) == 24
    assert {"astronaut", "coffee", "hubble deep field"} <= set(names)
    batch = open_source("stills", 9, 32, 32).batch(range(48))
    moves = {next(m for m in MOVES if caption.startswith(m)) for caption in batch.captions}
    assert len(moves) >= 10
