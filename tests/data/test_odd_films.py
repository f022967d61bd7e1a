"""Films as they are found: each is a kind of which some reader made something wrong without a
word.
"""

import shutil
from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

from made_videos import add_sound, frame_number, images
from ssvae.data.opened import NamedBytes, VideoError
from ssvae.data.video import draw_bytes, probe, read_clip, read_frames
from ssvae.data.video_writer import VideoWriter

RATE = 10
CODECS = {"webm": "libvpx-vp9", "mpg": "mpeg2video"}
FORMATS = {"mpg": "mpeg", "ts": "mpegts"}


def film(path, count=40, rate=RATE, size=(48, 64), start=0, **options):
    """H.264 with B-frames and a key frame a second, unless the container takes another codec."""
    kind = path.suffix[1:]
    with av.open(str(path), "w", format=FORMATS.get(kind)) as container:
        bframes = {} if kind in CODECS else {"bf": "2"}
        given = {"g": str(rate), **bframes, **options}
        stream = container.add_stream(CODECS.get(kind, "libx264"), rate=rate, options=given)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for i, image in enumerate(images(count, *size)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i + start * rate, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class Pipe(BytesIO):
    """What cannot be gone back in."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError


def piped(path, codec, kind):
    """As a browser records, or a pipe writes: without a length and without an index."""
    pipe = Pipe()
    with av.open(pipe, "w", format=kind, options={"live": "1"}) as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in images(40, 48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(pipe.getvalue())
    return path


def numbers(path):
    return [frame_number(f.image) for f in read_frames(path)]


def times(path):
    return [f.time for f in read_frames(path)]


def rises(values):
    return all(b > a for a, b in pairwise(values))


def clip_numbers(clip):
    return [frame_number(image) for image in np.moveaxis(np.asarray(clip), 0, -1)]


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_joined_films_go_on_where_the_first_ends(tmp_path, suffix):
    one = film(tmp_path / f"a.{suffix}", 20, 25 if suffix == "mpg" else RATE)
    joined = tmp_path / f"c.{suffix}"
    joined.write_bytes(one.read_bytes() * 3)
    told = times(joined)
    period = 1 / probe(one).fps
    assert len(told) >= 57  # MPEG's own parser may lose a frame where files meet
    assert np.diff(told) == pytest.approx([float(period)] * (len(told) - 1), abs=0.06)
    assert rises(told)


def test_containers_with_the_times_of_decoding(tmp_path):
    path = film(tmp_path / "a.avi")
    assert numbers(path) == list(range(40))
    assert times(path) == pytest.approx([i / 10 for i in range(40)])
    clip = (read_clip(path, 5, fps=10).numpy() + 1) * 127.5
    assert clip_numbers(clip) == [0, 1, 2, 3, 4]
    assert [frame_number(f.image) for f in read_frames(path, 2.5)][:2] == [25, 26]


def test_a_clock_that_is_late_begins_at_0(tmp_path):
    path = film(tmp_path / "a.mkv", 10, start=50_000)
    assert times(path) == pytest.approx([i / 10 for i in range(10)])
    assert frame_number(next(iter(read_frames(path, 0.5))).image) == 5
    assert probe(path).duration == pytest.approx(1.0)
    assert probe(path).claimed == pytest.approx(1.0)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "ts", "flv", "mpg"])
@pytest.mark.parametrize("asked", [0.5, 1.0, 2.25, 3.85])
def test_seeking_lands_on_the_frame_that_is_shown(tmp_path, suffix, asked):
    rate = 25 if suffix == "mpg" else RATE
    path = film(tmp_path / f"a.{suffix}", 4 * rate, rate)
    expected = int(asked * rate + 1e-6)
    first = next(iter(read_frames(path, asked)))
    level = first.image[4:20, 4:28].mean()
    assert abs(level - 5 * expected % 256) < 3
    assert first.time == pytest.approx(expected / rate, abs=2e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "ts", "flv", "mpg"])
def test_the_length_is_that_of_the_pictures(tmp_path, suffix):
    rate = 25 if suffix == "mpg" else RATE
    path = film(tmp_path / f"a.{suffix}", 2 * rate, rate)
    assert probe(path).duration == pytest.approx(2.0, abs=0.05)
    if suffix in ("webm", "flv", "mpg"):
        return
    # Matroska does not tell in which order frames are decoded, and so cannot be copied.
    source = film(tmp_path / "c.mp4", 20) if suffix == "mkv" else path
    longer = add_sound(source, tmp_path / f"b.{suffix}", 9.0)
    # AVI counts the frame by which decoding is ahead.
    assert probe(longer).duration == pytest.approx(times(longer)[0] + 2.0, abs=0.11)


def test_clips_lie_all_over_a_film_that_tells_no_length(tmp_path):
    for path in (
        piped(tmp_path / "a.webm", "libvpx-vp9", "webm"),
        piped(tmp_path / "a.mkv", "libx264", "matroska"),
        add_sound(film(tmp_path / "v.mp4"), tmp_path / "long.mkv", 30.0),
    ):
        firsts = [clip_numbers(draw_bytes(path, 3, where))[0] for where in (0.0, 0.4, 0.8)]
        assert firsts[0] == 0
        assert firsts[1] in range(12, 18)
        assert firsts[2] in range(26, 33), path
        held = NamedBytes(path.read_bytes(), "held")
        assert clip_numbers(draw_bytes(held, 3, 0.4))[0] == firsts[1]


@pytest.mark.parametrize(
    "name", ["2026-11-28T22:10:05.mp4", "pipe:0.mp4", "concat:a|b.mp4", "a b%03d.mp4", "é:ü.mp4"]
)
def test_a_name_is_a_name(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "a.mp4", 3)
    shutil.copy("a.mp4", name)
    assert numbers(name) == [0, 1, 2]
    target = name.replace("%03d", "").replace(".mp4", ".mkv")
    with VideoWriter(target, 64, 48, 10, audio_from=name) as writer:
        for image in images(3, 48, 64):
            writer.write(image)
    assert numbers(target) == [0, 1, 2]


def test_a_cut_picture_is_no_picture(tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8))
    for name, more in (("a", {}), ("p", {"progressive": True})):
        thumbnail = BytesIO()
        picture.resize((16, 16)).save(thumbnail, "JPEG")
        whole = BytesIO()
        picture.save(whole, "JPEG", comment=thumbnail.getvalue(), **more)
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(whole.getvalue() + b"\0\0trailing")
        assert len(numbers(path)) == 1
        path.write_bytes(whole.getvalue()[: len(whole.getvalue()) * 9 // 10])
        with pytest.raises(VideoError, match="cut off"):
            next(iter(read_frames(path)))
        with pytest.raises(VideoError, match="cut off"):
            next(iter(read_frames(NamedBytes(path.read_bytes(), "held.jpg"))))


@pytest.mark.parametrize(("size", "coded"), [((720, 1280), "itu709"), ((480, 640), "itu601")])
def test_colours_without_a_label_are_those_of_their_size(tmp_path, size, coded):
    colour = np.zeros((*size, 3), np.uint8)
    colour[:] = (200, 40, 90)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"qp": "0"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(colour, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=coded)
        frame.colorspace = 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    read = next(iter(read_frames(tmp_path / "a.mkv"))).image
    assert np.abs(read.astype(int) - colour).max() <= 2


def gif(path, transparent=False):
    frames = [Image.new("RGB", (32, 32), (50 * i, 0, 0)) for i in range(3)]
    more = {}
    if transparent:
        frames = [Image.new("RGBA", (32, 32), (50 * i, 0, 0, 0)) for i in range(3)]
        more = dict(disposal=2)
    rest = dict(append_images=frames[1:], duration=[400, 600, 2000])
    frames[0].save(path, save_all=True, **rest, **more)
    return path


@pytest.mark.parametrize("target", ["b.mkv", "b.mp4", "b.webm", "b.png"])
def test_the_last_frame_stays_as_long(tmp_path, target):
    path = gif(tmp_path / "a.gif")
    info = probe(path)
    assert info.duration == pytest.approx(3.0)
    with VideoWriter(tmp_path / target, 32, 32, info.fps, info.time_base) as writer:
        for frame in read_frames(path):
            writer.write(frame.image, frame.time, frame.duration)
    assert times(tmp_path / target) == pytest.approx([0, 0.4, 1.0], abs=2e-3)
    assert probe(tmp_path / target).duration == pytest.approx(3.0, abs=0.01)


def test_only_what_is_transparent_has_alpha(tmp_path):
    assert not probe(gif(tmp_path / "a.gif")).has_alpha
    assert probe(gif(tmp_path / "b.gif", transparent=True)).has_alpha


def greys(path, values, rate=25, codec="libx264", size=(32, 48), **options):
    """Frames of one grey each, by which they are known."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for value in values:
            image = np.full((*size, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def level(clip, frame=0):
    return float((clip[0, frame, 8, 8] + 1) * 127.5)


@pytest.mark.parametrize("bf", ["0", "2"])
@pytest.mark.parametrize("sound", [False, True])
def test_a_start_in_joined_films_is_on_their_whole_clock(tmp_path, bf, sound):
    whole = b""
    for part in range(2):
        one = greys(tmp_path / f"{part}.ts", [100 * part + i for i in range(50)], bf=bf, g="12")
        if sound:
            one = add_sound(one, tmp_path / f"{part}s.ts", 2.0)
        whole += one.read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(whole)
    shown = [(f.time, f.image[8, 8, 0]) for f in read_frames(joined)]
    assert len(shown) == 100
    assert probe(joined).duration == pytest.approx(shown[-1][0] + 0.04, abs=0.05)
    for i in range(0, 100, 7):
        assert level(read_clip(joined, 1, start=shown[i][0] + 0.01)) == pytest.approx(
            int(shown[i][1]), abs=1.5
        )
    late = [level(np.asarray(draw_bytes(joined, 1, w)) / 127.5 - 1) for w in (0.0, 0.3, 0.6, 0.95)]
    assert [value > 90 for value in late] == [False, False, True, True]


def test_mpeg4_with_b_frames_in_avi_is_read_from_anywhere(tmp_path):
    path = greys(tmp_path / "a.avi", range(0, 256, 8), codec="mpeg4", bf="2", g="12")
    whole = [f.image[8, 8, 0] for f in read_frames(path)]
    for i in range(0, 30, 3):
        assert level(read_clip(path, 1, start=i / 25 + 0.01)) == pytest.approx(int(whole[i]), abs=3)


def test_bytes_in_memory_are_read_from_anywhere(tmp_path):
    """A member of a tar may be open twice at once."""
    for name in ("a.avi", "a.mkv", "a.ts"):
        path = greys(tmp_path / name, range(0, 200, 2), bf="0", g="10", size=(96, 128))
        held = NamedBytes(path.read_bytes(), name)
        for where in (0.0, 0.3, 0.9):
            one, two = (draw_bytes(file, 3, where) for file in (path, held))
            assert np.array_equal(one, two), (name, where)
        assert draw_bytes(held, 98, 0.0).shape[1] == 98


def test_pictures_that_begin_after_the_sound(tmp_path):
    path = film(tmp_path / "v.mp4", 20, start=1)
    late = add_sound(path, tmp_path / "s.mp4", 3.0)
    assert times(late)[0] == pytest.approx(1.0, abs=0.1)
    for start in (0.2, 0.5, 0.9):
        assert frame_number(next(iter(read_frames(late, start))).image) == 0


def test_frames_are_brought_to_the_first_one_s_size(tmp_path):
    parts = [
        greys(tmp_path / f"{i}.ts", [50] * 6, size=size)
        for i, size in enumerate([(32, 48), (64, 64)])
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert {f.image.shape[:2] for f in read_frames(joined)} == {(32, 48)}


def test_a_codec_that_changes_is_told(tmp_path):
    parts = [
        greys(tmp_path / "0.ts", range(0, 96, 8)),
        greys(tmp_path / "1.ts", range(100, 196, 8), codec="mpeg2video"),
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    read = times(joined)
    assert read[0] >= 0
    assert len(read) < 24  # which FFmpeg loses: reconstruct warns of it
    assert probe(joined).duration > 1.5 * (read[-1] + 0.04)


def test_what_no_clip_is_is_refused(tmp_path):
    path = film(tmp_path / "a.mp4", 10)
    for words in (
        dict(frames=0),
        dict(frames=1, start=float("nan")),
        dict(frames=1, start=-1.0),
        dict(frames=1, fps=0.0),
        dict(frames=1, fps=float("inf")),
        dict(frames=1, size=(0, 5)),
    ):
        with pytest.raises(ValueError, match="must be"):
            read_clip(path, **words)
    with pytest.raises(VideoError, match="too short"):
        read_clip(path, 1, start=1.5)
