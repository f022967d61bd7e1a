from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from made_videos import add_sound, frame_number, images, write
from ssvae.data.opened import VideoError
from ssvae.data.pixels import to_clip, to_images
from ssvae.data.video import alpha_warned, probe, read_clip, read_frames, read_sound
from ssvae.data.video_writer import VideoWriter, write_video


@pytest.mark.quick
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "webm"])
@pytest.mark.parametrize("size", [(48, 64), (35, 49)])
def test_round_trip(tmp_path, suffix, size):
    path = write(tmp_path / f"a.{suffix}", 12, *size)
    info = probe(path)
    assert (info.height, info.width) == size
    assert info.fps == 10
    frames = list(read_frames(path))
    assert [frame_number(f.image) for f in frames] == list(range(12))
    assert [f.time for f in frames] == pytest.approx([i / 10 for i in range(12)], abs=2e-3)


def test_colours_survive(tmp_path):
    for colour in [(255, 0, 0), (0, 255, 0), (20, 60, 220), (128, 128, 128)]:
        with VideoWriter(tmp_path / "c.mp4", 32, 32, 5) as writer:
            for _ in range(2):
                writer.write(np.full((32, 32, 3), colour, np.uint8))
        read = next(read_frames(tmp_path / "c.mp4")).image
        assert np.abs(read.astype(int) - colour).max() <= 4


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    ramps = x / (width - 1), y / (height - 1), 1 - (x + y) / (width + height - 2)
    return (255 * np.stack(ramps, -1)).round().astype(np.uint8)


def coded(path, image, colorspace, color_range, trc=1) -> None:
    """A lossless H.264 file whose colours are coded and labelled so."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"qp": "0"})
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc = colorspace, color_range, trc
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=colorspace, dst_color_range=color_range
        )
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


@pytest.mark.parametrize("size", [None, (48, 64)])
def test_nothing_becomes_darker(tmp_path, size):
    """Of 4:2:0 in and out, which FFmpeg's fast way takes one level of 255 from."""
    image = smooth(96, 128)
    with VideoWriter(tmp_path / "a.mp4", 128, 96, 5) as writer:
        for _ in range(3):
            writer.write(image)
    expected = image if size is None else np.asarray(Image.fromarray(image).resize((64, 48), 4))
    for frame in read_frames(tmp_path / "a.mp4", size=size):
        difference = frame.image.astype(float) - expected
        assert abs(difference.mean()) < 0.5
        assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("colorspace", [1, 5])  # BT.709, BT.601
@pytest.mark.parametrize("color_range", [1, 2])  # limited, full
def test_colours_are_read_as_they_are_labelled(tmp_path, colorspace, color_range):
    image = smooth(96, 128)
    coded(tmp_path / "a.mkv", image, colorspace, color_range)
    difference = next(read_frames(tmp_path / "a.mkv")).image.astype(float) - image
    assert np.abs(difference).mean() < 2.5  # read as the other matrix it is 7, as the other range 9
    # What is written says what it is.
    with VideoWriter(tmp_path / "b.mkv", 128, 96, 5) as writer:
        writer.write(next(read_frames(tmp_path / "a.mkv")).image)
    with av.open(str(tmp_path / "b.mkv")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.color_trc) == (1, 1, 1)


@pytest.mark.parametrize("trc", [16, 18])
def test_a_high_range_of_brightness_is_refused(tmp_path, trc):
    coded(tmp_path / "a.mkv", smooth(32, 32), 9, 1, trc)
    with pytest.raises(VideoError, match=r"range of brightness is high .*map its tones to BT.709"):
        probe(tmp_path / "a.mkv")


def test_alpha_that_is_left_out_is_told_once(tmp_path, caplog):
    alpha_warned.clear()
    picture = Image.fromarray(smooth(16, 16)).convert("RGBA")
    picture.save(tmp_path / "a.png")
    picture.convert("RGB").save(tmp_path / "b.png")
    picture.save(tmp_path / "c.png")
    for name in ("b.png", "a.png", "a.png", "c.png"):
        next(read_frames(tmp_path / name))
    (record,) = caplog.records
    assert f"{tmp_path / 'a.png'} has an alpha channel, which is left out" in record.message


def test_irregular_times_are_kept(tmp_path):
    times = [0.0, 0.1, 0.15, 0.4, 0.41, 1.0, 1.2, 1.9]
    path = write(tmp_path / "v.mkv", 8, times=times, time_base=Fraction(1, 1000))
    assert [f.time for f in read_frames(path)] == pytest.approx(times, abs=1e-9)


def test_start_seeks_to_the_frame_that_is_shown(tmp_path):
    path = write(tmp_path / "a.mp4", 60)
    for start, expected in [(0.0, 0), (0.05, 0), (0.1, 1), (3.33, 33), (4.9, 49)]:
        assert frame_number(next(read_frames(path, start)).image) == expected


def test_clip_at_another_rate(tmp_path):
    path = write(tmp_path / "a.mp4", 40)  # 10 frames a second

    def numbers(**options) -> list[int]:
        clip = read_clip(path, **options)
        return [frame_number(i) for i in to_images(clip)]

    assert numbers(frames=5, start=1.0) == [10, 11, 12, 13, 14]
    assert numbers(frames=5, start=1.0, fps=5) == [10, 12, 14, 16, 18]
    assert numbers(frames=5, fps=20) == [0, 0, 1, 1, 2]
    assert numbers(frames=8, start=3.6, fps=20) == [36, 36, 37, 37, 38, 38, 39, 39]
    with pytest.raises(VideoError, match="too short.* it has 4") as caught:
        read_clip(path, 5, start=3.6)
    assert caught.value.reason == "too short"


def test_clip_of_irregular_times(tmp_path):
    times = [0.0, 0.1, 0.5, 0.55, 1.0]
    path = write(tmp_path / "v.mkv", 5, times=times, time_base=Fraction(1, 1000))
    clip = read_clip(path, frames=5, fps=5)  # at 0, .2, .4, .6, .8
    assert [frame_number(i) for i in to_images(clip)] == [0, 1, 1, 3, 3]


def test_resize_and_crop(tmp_path):
    path = write(tmp_path / "a.mp4", 3, 48, 64)
    clip = read_clip(path, 3, size=(24, 24))
    assert clip.shape == (3, 3, 24, 24)
    assert clip.min() >= -1
    assert clip.max() <= 1
    whole = next(read_frames(path)).image.astype(float)
    middle = whole[:, 8:56].reshape(24, 2, 24, 2, 3).mean((1, 3))
    made = next(read_frames(path, size=(24, 24))).image
    assert np.abs(made - middle)[2:-2, 2:10].mean() < 4


@pytest.mark.parametrize("turn", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0),
                                  (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)])  # fmt: skip
def test_turns_and_mirrorings_are_applied(tmp_path, turn):
    path = write(tmp_path / "a.mp4", 3, 48, 64)
    stored = next(read_frames(path)).image
    content = path.read_bytes()
    at = content.index(b"tkhd") + 4 + 40  # the matrix of the track header
    a, b, c, d = turn
    whole = [a, b, 0, c, d, 0, 0, 0, 0x4000]
    matrix = b"".join((v * 0x10000).to_bytes(4, "big", signed=True) for v in whole)
    path.write_bytes(content[:at] + matrix + content[at + 36 :])
    found = next(read_frames(path)).image
    # Point by point: (x, y) goes to (a x + c y, b x + d y), counted from the corner where that
    # begins.
    y, x = np.mgrid[:48, :64]
    across, down = a * x + c * y, b * x + d * y
    expected = np.empty((np.ptp(down) + 1, np.ptp(across) + 1, 3), np.uint8)
    expected[down - down.min(), across - across.min()] = stored
    assert np.array_equal(found, expected)
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    assert read_clip(path, 1, size=(32, 20)).shape == (3, 1, 32, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_its_camera_was_held(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(images(1, 48, 64)[0]).save(path, exif=exif, quality=95, subsampling=0)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path))).astype(float)
    found = next(read_frames(path)).image
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 4


@pytest.mark.quick
def test_sound_is_taken_over(tmp_path):
    silent = write(tmp_path / "a.mp4", 20)
    source = add_sound(silent, tmp_path / "s.mp4", 2.0)
    assert probe(source).has_audio

    def sound(path) -> np.ndarray:
        with av.open(str(path)) as container:
            return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])

    for name in ("t.mp4", "t.webm"):  # WebM takes no AAC, so there it is encoded anew
        with VideoWriter(tmp_path / name, 64, 48, 10, audio_from=source) as writer:
            for image in images(20, 48, 64):
                writer.write(image)
        assert len(list(read_frames(tmp_path / name))) == 20
        seconds = len(sound(tmp_path / name)) / (16000 if name == "t.mp4" else 48000)
        assert seconds == pytest.approx(2, abs=0.15)
    assert np.array_equal(sound(tmp_path / "t.mp4"), sound(source))


def test_clips_and_images():
    clip = torch.linspace(-1, 1, 3 * 2 * 4 * 4).view(3, 2, 4, 4)
    again = to_clip(to_images(clip))
    assert (again - clip).abs().max() <= 1 / 255
    assert to_images(clip * 9).max() == 255


def test_write_video(tmp_path):
    write_video(tmp_path / "a.mp4", torch.zeros(3, 4, 16, 16), 8)
    assert probe(tmp_path / "a.mp4").frames == 4


def test_broken_files(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        probe(tmp_path / "absent.mp4")
    (tmp_path / "junk.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(VideoError, match="FFmpeg says") as caught:
        probe(tmp_path / "junk.mp4")
    assert caught.value.reason == "unreadable"
    whole = write(tmp_path / "a.mkv", 60, 120, 160).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert 0 < len(list(read_frames(tmp_path / "cut.mkv"))) < 60
    with pytest.raises(VideoError, match="too short"):
        read_clip(tmp_path / "cut.mkv", 60)


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        VideoWriter(tmp_path / "none" / "a.mp4", 16, 16, 5)
    with pytest.raises(ValueError, match=r"end the name in one of \.mp4"):
        VideoWriter(tmp_path / "a.foo", 16, 16, 5)
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "a.mp4", 16, 16, 5):
        raise RuntimeError("in the middle")
    assert not (tmp_path / "a.mp4").exists()


def sound_file(path, codec: str, rate: int, layout: str):
    """Two seconds of a film whose channel c hums at 440 (c + 1) Hz."""
    channels = len(av.AudioLayout(layout).channels)
    seconds = np.arange(2 * rate) / rate
    wave = np.stack([np.sin(2 * np.pi * 440 * (c + 1) * seconds) for c in range(channels)])
    packed = (wave.T.reshape(1, -1) * 10_000).astype(np.int16)
    with av.open(str(path), "w") as out:
        film = out.add_stream("mpeg4", rate=10)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        track = out.add_stream(codec, rate=rate, layout=layout)
        for image in images(20, 48, 64):
            out.mux(film.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(film.encode())
        for i in range(0, 2 * rate, 1000):
            part = np.ascontiguousarray(packed[:, i * channels : (i + 1000) * channels])
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, i, Fraction(1, rate)
            out.mux(track.encode(frame))
        out.mux(track.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("pcm.avi", "pcm_s16le", 44100, "stereo"),  # whose channels name no order
        ("flac.mkv", "flac", 192_000, "stereo"),  # a rate that AAC and Opus have not
        ("aac.mkv", "aac", 22_050, "mono"),
        ("surround.mkv", "flac", 44_100, "5.1"),
    ],
)
def test_every_sound_goes_into_every_container(tmp_path, suffix, name, codec, rate, layout):
    source = sound_file(tmp_path / name, codec, rate, layout)
    target = tmp_path / f"out.{suffix}"
    with VideoWriter(target, 64, 48, 10, audio_from=source) as writer:
        for image in images(20, 48, 64):
            writer.write(image)
    with av.open(str(target)) as container:
        (track,) = container.streams.audio
        frames = [frame.to_ndarray() for frame in container.decode(track)]
        channels, its_rate = track.codec_context.channels, track.rate
    assert channels == len(av.AudioLayout(layout).channels)
    joined = np.concatenate(frames, 1).astype(float)
    wave = joined if len(joined) == channels else joined.reshape(-1, channels).T
    assert wave.shape[1] / its_rate == pytest.approx(2, abs=0.1)  # AAC begins with silence
    middle = wave[:, its_rate // 2 : its_rate // 2 + its_rate]  # one second: a bin is 1 Hz
    loudest = np.abs(np.fft.rfft(middle)).argmax(1)
    expected = [440 * (c + 1) for c in range(channels)]
    low = [c for c in range(channels) if not (layout == "5.1" and c == 3)]  # the fourth is for bass
    assert [abs(loudest[c] - expected[c]) <= 2 for c in low] == [True] * len(low)


def test_titles_in_another_encoding(tmp_path):
    content = write(tmp_path / "a.mp4", 3).read_bytes()
    place = content.rindex(b"isomiso2") if b"isomiso2" in content else content.index(b"ftyp") + 4
    (tmp_path / "b.mp4").write_bytes(content[:place] + b"\xb7\xb7" + content[place + 2 :])
    assert len(list(read_frames(tmp_path / "b.mp4"))) == 3


def test_codecs_that_nobody_knows(tmp_path, caplog):
    """A video's is refused; a sound's leaves the sound out, with a warning."""
    film = add_sound(write(tmp_path / "a.mp4", 5, 32, 32), tmp_path / "s.mp4", 0.5)
    deaf, blind = tmp_path / "deaf.mp4", tmp_path / "blind.mp4"
    deaf.write_bytes(film.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"free"))
    blind.write_bytes(film.read_bytes().replace(b"avc1", b"zzzz"))
    assert probe(film).has_audio
    assert not probe(deaf).has_audio
    assert "of an unknown codec and left out" in caplog.text
    assert read_sound(deaf) is None
    assert len(list(read_frames(deaf))) == 5
    with pytest.raises(VideoError, match="its codec is not known"):
        probe(blind)
