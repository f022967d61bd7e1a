"""Films with alpha, and grey ones, in and out of files."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from made_videos import add_sound
from ssvae.data import open_source
from ssvae.data.fixed import of_source
from ssvae.data.opened import VideoError
from ssvae.data.pixels import of_colours, of_rgb, premultiplied, to_clip
from ssvae.data.video import alpha_warned, probe, read_clip, read_frames
from ssvae.data.video_writer import VideoWriter, write_video
from ssvae.data.world import World

ENCODED = {
    "a.mov": ("prores_ks", "yuva444p10le", {"profile": "4444"}),
    "a.webm": ("libvpx-vp9", "yuva420p", {"crf": "10"}),
    "b.webm": ("libvpx", "yuva420p", {"crf": "10", "auto-alt-ref": "0"}),
    "a.mkv": ("ffv1", "bgra", {}),
    "a.png": ("apng", "rgba", {}),
}


def drawn(count: int = 6, height: int = 48, width: int = 64) -> np.ndarray:
    """Straight colours: a moving half-transparent bar on nothing, which hides green."""
    images = np.zeros((count, height, width, 4), np.uint8)
    images[..., 1] = 250
    for i in range(count):
        bar = images[i, :, 8 + 4 * i : 24 + 4 * i]
        bar[...] = (200, 40, 120, 255)
        bar[height // 2 :, :, 3] = 128
    return images


@pytest.mark.parametrize("name", ENCODED)
def test_films_from_elsewhere(tmp_path, name):
    codec, pixels, options = ENCODED[name]
    truth = drawn()
    kind = "apng" if name.endswith("png") else None
    with av.open(str(tmp_path / name), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=8, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for image in truth:
            frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    read = list(read_frames(tmp_path / name, channels=4))
    assert [f.time for f in read] == pytest.approx([i / 8 for i in range(6)], abs=2e-3)
    for frame, image in zip(read, truth, strict=True):
        apart = np.abs(frame.image.astype(int) - premultiplied(image))
        assert apart[..., 3].mean() < 1
        assert np.median(apart) == 0
        assert apart.mean() < 2
        assert (frame.image[..., :3] <= frame.image[..., 3:]).all()
    later = next(read_frames(tmp_path / name, start=0.5, channels=4))
    assert np.abs(later.image.astype(int) - read[4].image).mean() < 0.5


@pytest.mark.parametrize("size", [(48, 64), (35, 49)])
@pytest.mark.parametrize("name", ["a.mov", "a.webm", "a.mkv", "a.png"])
def test_round_trip(tmp_path, name, size):
    clip = World(9, *size, channels=4).batch([3]).video[0]
    write_video(tmp_path / name, clip, 8)
    again = read_clip(tmp_path / name, 9, channels=4)
    assert probe(tmp_path / name).fps == 8
    apart = 127.5 * (again - clip).abs()
    assert apart.mean() < 0.3
    if not name.endswith("webm"):
        assert apart.max() < 2


def test_hidden_colours_do_not_bleed_where_frames_are_resized(tmp_path):
    Image.fromarray(drawn()[0]).save(tmp_path / "a.png")
    (frame,) = read_frames(tmp_path / "a.png", size=(20, 30), channels=4)
    pixels = frame.image.astype(int)
    assert (pixels[..., :3] <= pixels[..., 3:]).all()
    # The bar's own green is a fifth of its red: nothing of the 250 that is hidden beside it.
    assert (pixels[..., 1] <= 0.2 * pixels[..., 0] + 2).all()
    alpha = np.asarray(
        Image.fromarray(drawn()[0][..., 3]).resize((30, 22), Image.Resampling.BICUBIC)
    )
    assert np.abs(pixels[..., 3] - alpha[1:21].astype(int)).mean() < 4


def test_a_palette_may_be_transparent(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png", transparency=bytes([255, 51, 0]))
    (frame,) = read_frames(tmp_path / "a.png", channels=4)
    assert frame.image.tolist() == [
        [[255, 0, 0, 255], [0, 51, 0, 51]], [[0, 51, 0, 51], [0, 0, 0, 0]],
    ]  # fmt: skip


def test_films_without_alpha_are_opaque(tmp_path):
    clip = World(5, 32, 48).batch([1]).video[0]
    write_video(tmp_path / "a.mp4", clip, 8)
    again = read_clip(tmp_path / "a.mp4", 5, channels=4)
    assert (again[3] == 1).all()
    assert torch.equal(again[:3], read_clip(tmp_path / "a.mp4", 5))


def test_alpha_that_is_kept_is_not_told_of(tmp_path, caplog):
    alpha_warned.clear()
    write_video(tmp_path / "a.mkv", World(2, 16, 16, channels=4).batch([1]).video[0], 8)
    next(read_frames(tmp_path / "a.mkv", channels=4))
    assert not caplog.records
    next(read_frames(tmp_path / "a.mkv"))
    assert "a model of four channels keeps it" in caplog.text


def test_numbered_pictures(tmp_path):
    clip = World(9, 16, 24, channels=4).batch([3]).video[0]
    pattern = tmp_path / "shot2_%04d.png"
    write_video(pattern, clip, 8)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"shot2_{i:04d}.png" for i in range(1, 10)]
    for name in names[:3]:  # a film that begins at another number, beside others
        (tmp_path / name).unlink()
    (tmp_path / "shot2_12.png").write_bytes(b"no picture of it")
    (tmp_path / "shot2_0004.jpg").write_bytes(b"nor this")
    read = to_clip(f.image for f in read_frames(pattern, channels=4))
    torch.testing.assert_close(read, clip[:, 3:], atol=0.51 / 127.5, rtol=0)
    with pytest.raises(VideoError, match="no such pictures"):
        next(read_frames(tmp_path / "other_%04d.png"))
    (tmp_path / names[5]).unlink()
    with pytest.raises(VideoError, match=f"{names[5]} is missing"):
        probe(pattern)


def test_a_film_takes_the_place_of_another_and_of_what_was_killed(tmp_path):
    clip, pattern = World(9, 16, 16, channels=4).batch([3]).video[0], tmp_path / "%03d.png"
    write_video(pattern, clip, 8)
    left = tmp_path / ".partial-03d.png"  # where a process that was killed had got
    left.mkdir()
    (left / "040.png").write_bytes(b"half a picture")
    write_video(pattern, clip[:, :3], 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001.png", "002.png", "003.png"]


@pytest.mark.parametrize("name", ["%02d-%02d.png", "%5d.png", "%05i.png", "%d%%.png"])
def test_what_is_no_pattern_is_refused(tmp_path, name):
    clip = World(2, 16, 16).batch([0]).video[0]
    with pytest.raises(ValueError, match="is no pattern of numbered files"):
        write_video(tmp_path / name, clip, 8)
    assert not list(tmp_path.iterdir())


def test_folders_may_hold_a_percent_sign(tmp_path):
    folder = tmp_path / "100%d 5%"
    folder.mkdir()
    clip = World(3, 16, 16, channels=4).batch([0]).video[0]
    write_video(folder / "%03d.png", clip, 8)
    assert read_clip(folder / "%03d.png", 3, channels=4).shape == clip.shape


def test_numbered_pictures_are_turned_as_each_is(tmp_path):
    picture = Image.fromarray(drawn()[0][..., :3])
    exif = picture.getexif()
    exif[0x0112] = 6  # a quarter turn
    for i in range(2):
        picture.save(tmp_path / f"{i}.jpg", exif=exif)
    for name in ("0.jpg", "%d.jpg"):
        info = probe(tmp_path / name)
        assert (info.width, info.height) == (48, 64)
        assert next(read_frames(tmp_path / name)).image.shape == (64, 48, 3)


def test_tags_of_alpha_in_any_case(tmp_path):
    """As FFmpeg writes them where -metadata:s:v alpha_mode=1 is given."""
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=8, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for image in drawn():
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(image, format="rgba").reformat(format="yuva420p")
                )
            )
        container.mux(stream.encode())
    assert probe(tmp_path / "a.webm").has_alpha
    frame = next(read_frames(tmp_path / "a.webm", channels=4))
    assert np.median(np.abs(frame.image.astype(int) - premultiplied(drawn()[0]))) == 0


def test_alpha_that_decoders_drop_is_told_of(tmp_path, caplog):
    write_video(tmp_path / "a.webm", World(2, 16, 16, channels=4).batch([1]).video[0], 8)
    picture = Image.fromarray(np.zeros((2, 2), np.uint8), "P")
    picture.putpalette([255, 0, 0])
    picture.save(tmp_path / "opaque.png")
    picture.save(tmp_path / "a.png", transparency=bytes([51]))
    for name, told in (("opaque.png", False), ("a.png", True), ("a.webm", True)):
        alpha_warned.clear()
        caplog.clear()
        next(read_frames(tmp_path / name))
        assert bool(caplog.records) == told == probe(tmp_path / name).has_alpha


def test_a_percent_sign_is_not_always_a_number(tmp_path):
    clip = World(2, 16, 16).batch([0]).video[0]
    for name in ("half 50%.png", "50%d.mp4"):
        write_video(tmp_path / name, clip, 8)
        assert (tmp_path / name).is_file()
        assert len(list(read_frames(tmp_path / name))) == 2


def test_numbered_pictures_that_are_given_up_leave_nothing(tmp_path):
    def broken():
        with VideoWriter(tmp_path / "%03d.png", 16, 16, 8) as writer:
            writer.write(np.zeros((16, 16, 3), np.uint8))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert not list(tmp_path.iterdir())


def test_what_cannot_hold_alpha_is_refused(tmp_path):
    clip = World(2, 16, 16, channels=4).batch([0]).video[0]
    with pytest.raises(ValueError, match=r"\.mp4 holds no alpha.* \.mov, \.mkv, \.webm, \.png"):
        write_video(tmp_path / "a.mp4", clip, 8)
    assert not list(tmp_path.iterdir())


def test_pictures_keep_no_sound(tmp_path, caplog):
    clip = World(9, 16, 16).batch([0]).video[0]
    write_video(tmp_path / "a.mp4", clip, 8)
    source = add_sound(tmp_path / "a.mp4", tmp_path / "s.mp4", 1.0)
    with VideoWriter(tmp_path / "a.png", 16, 16, 8, audio_from=source) as writer:
        for image in (f.image for f in read_frames(source)):
            writer.write(image)
    assert "a.png keeps no sound" in caplog.text
    assert len(list(read_frames(tmp_path / "a.png"))) == 9


def test_grey_films(tmp_path):
    ramp = torch.linspace(-1, 1, 64).expand(1, 5, 32, 64)
    write_video(tmp_path / "a.mp4", ramp, 8)
    again = read_clip(tmp_path / "a.mp4", 5, channels=1)
    assert again.shape == ramp.shape
    assert (127.5 * (again - ramp)).abs().max() < 3
    colours = World(5, 32, 32).batch([1]).video[0]
    write_video(tmp_path / "b.mkv", colours, 8)
    grey = read_clip(tmp_path / "b.mkv", 5, channels=1)
    assert (127.5 * (grey - of_colours(colours, 1))).abs().mean() < 2


@pytest.mark.parametrize("channels", [1, 4])
def test_sources(tmp_path, channels):
    """Each kind of source gives clips of so many channels; the same index is the same scene."""
    write_video(tmp_path / "a.mkv", World(9, 32, 32, channels=4).batch([1]).video[0], 8)
    for name in ("world", "stills", str(tmp_path), f"world:1,{tmp_path}:1"):
        batch = open_source(name, 5, 16, 16, channels=channels).batch([0, 1]).on()
        assert batch.shape == (2, channels, 5, 16, 16)
    plain = World(5, 16, 16, seed=3).batch([7]).video
    ours = World(5, 16, 16, seed=3, channels=channels)
    if channels == 1:
        torch.testing.assert_close(ours.batch([7]).video, of_colours(plain, 1))
    else:
        shape = ours.batch([7]).video
        inside = shape[:, 3:] == 1
        assert 0.05 < inside.float().mean() < 0.5
        torch.testing.assert_close(
            shape[:, :3][inside.expand(-1, 3, -1, -1, -1)], plain[inside.expand(-1, 3, -1, -1, -1)]
        )
    (clip,) = of_source(ours, 1).batches(1)
    assert clip.video.shape == (1, channels, 5, 16, 16)


def test_stills_as_grey():
    colours = open_source("stills", 5, 16, 16).batch([2]).video[0].numpy()
    grey = open_source("stills", 5, 16, 16, channels=1).batch([2]).video[0].numpy()
    assert np.array_equal(grey[0], of_rgb(np.moveaxis(colours, 0, -1), 1)[..., 0])


def test_pixels_that_are_not_square(tmp_path):
    wide = Fraction(2)
    for name in ("a.mov", "a.png", "%02d.png"):
        with VideoWriter(tmp_path / name, 16, 16, 8, pixel_aspect=wide, channels=4) as writer:
            writer.write(np.zeros((16, 16, 4), np.uint8))
        assert probe(tmp_path / name).pixel_aspect == wide
    for name in ("a.webm", "a.mkv"):
        with pytest.raises(ValueError, match=r"does not keep: end the name in one of \.mov, \.png"):
            VideoWriter(tmp_path / name, 16, 16, 8, pixel_aspect=wide, channels=4)
