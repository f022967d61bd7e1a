"""Films whose clocks jump, fall or say nothing, through `encode`, `decode` and `reconstruct`;
captions of every kind; latents of one VAE given to another.
"""

import json
import random
import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from chamber import MODEL, command

from made_videos import add_sound, images
from ssvae.data.listing import find_media, read_list
from ssvae.data.video import draw_bytes, probe, read_frames

pytestmark = [pytest.mark.slow, pytest.mark.torture]
SIZE = 32, 48
CODECS = {"mpg": "mpeg2video", "webm": "libvpx-vp9", "gif": "gif"}
FORMATS = {"mpg": "mpeg", "ts": "mpegts"}


def film(path: Path, draw: random.Random, count: int, rate: int, begin: Fraction) -> list[float]:
    """A film whose times are drawn; those of its frames."""
    kind = path.suffix[1:]
    codec = CODECS.get(
        kind, draw.choice(("libx264", "mpeg4") if kind in ("mkv", "avi", "mp4") else ("libx264",))
    )
    options = {"g": str(draw.choice((3, 10, 250)))} | (
        {"bf": str(draw.choice((0, 2, 4)))} if codec == "libx264" else {}
    )
    uneven = kind in ("mkv", "mp4", "mov") and draw.random() < 0.5
    ticks, times = 0, []
    with av.open(str(path), "w", format=FORMATS.get(kind)) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for image in images(count, *SIZE):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=stream.pix_fmt
            )
            frame.pts, frame.time_base = ticks + round(begin * rate), Fraction(1, rate)
            times.append(ticks / rate)
            ticks += 1 + (draw.randrange(4) if uneven else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return times


@pytest.mark.parametrize("seed", range(80))
def test_clocks_of_every_kind(seed, tmp_path):
    draw, folder = random.Random(seed), tmp_path / "work"
    folder.mkdir()
    kind = draw.choice(("ts", "ts", "mpg", "flv", "avi", "mkv", "mp4", "mov", "webm", "gif"))
    rate = 25 if kind == "mpg" else draw.choice((5, 10, 24))
    begin = (
        Fraction(draw.choice((0, 0, 7, 50_000))) if kind in ("mkv", "mp4", "ts") else Fraction(0)
    )
    source = folder / f"in.{kind}"
    times = film(source, draw, draw.choice((6, 17)), rate, begin)
    if draw.random() < 0.4 and kind in ("ts", "flv", "mp4", "mov") and not begin:
        source = add_sound(source, folder / f"sound.{kind}", draw.choice((0.3, 8.0)))
    parts = draw.choice((1, 2, 3)) if kind in ("ts", "mpg") else 1
    if parts > 1:
        whole = source.read_bytes() * parts
        source = folder / f"joined.{kind}"
        source.write_bytes(whole)
    read = [frame.time for frame in read_frames(source)]
    assert all(b > a for a, b in pairwise(read))
    assert len(read) >= parts * len(times) - parts
    if parts == 1:
        expected = np.array(times) - times[0]
        assert np.array(read) - read[0] == pytest.approx(
            expected, abs=1.5 / rate if kind == "mpg" else 0.02
        )
    target = draw.choice(("out.mkv", "out.mp4", "out.webm"))
    encoded = command(
        "encode", source.name, "z.safetensors", "--model", MODEL, "--strict", folder=folder
    )
    assert encoded.held(), encoded.said
    assert command("decode", "z.safetensors", target, "--model", MODEL, folder=folder).held()
    assert command(
        "reconstruct", source.name, f"again-{target}", "--model", MODEL, "--strict", folder=folder
    ).held()
    for made in (target, f"again-{target}"):
        seen = [frame.time for frame in read_frames(folder / made)]
        assert len(seen) == len(read)
        assert seen[0] < 5
        assert np.array(seen) - seen[0] == pytest.approx(np.array(read) - read[0], abs=0.02)


@pytest.mark.parametrize("seed", range(60))
def test_clips_lie_all_over_films_of_every_kind(seed, tmp_path):
    draw = random.Random(seed)
    kind = draw.choice(("ts", "mpg", "flv", "avi", "mkv", "mp4", "mov", "webm"))
    rate = 25 if kind == "mpg" else 10
    path = tmp_path / f"a.{kind}"
    times = film(path, draw, 40, rate, Fraction(0))
    if draw.random() < 0.5 and kind in ("ts", "mp4", "mov"):
        path = add_sound(path, tmp_path / f"b.{kind}", 30.0)
    lasts = probe(path).duration
    assert lasts == pytest.approx(times[-1] + 1 / rate, abs=0.6)
    levels = [draw_bytes(path, 1, where)[0, 0, 4:12, 4:20].mean() for where in (0.0, 0.5, 0.95)]
    shown = [
        5 * min(range(40), key=lambda i, w=w: abs(times[i] - w * lasts)) for w in (0.0, 0.5, 0.95)
    ]
    assert np.array(levels) == pytest.approx(np.array(shown), abs=5 * 4 + 6)


@pytest.mark.parametrize("seed", range(60))
def test_captions_of_every_kind(seed, tmp_path):
    """What stands first in the order is found, however it is written."""
    draw = random.Random(seed)
    (tmp_path / "a.mp4").write_bytes(b"")
    texts = ["a red disc", "rot, grün", "一个红色圆盘", 'with "quotes"', "it's, so, it, is"]
    given = {
        place: draw.choice(texts)
        for place in ("caption", "text", "prompt", ".json", ".txt")
        if draw.random() < 0.5
    }
    mark = "\ufeff" if draw.random() < 0.3 else ""
    if ".json" in given:
        field = draw.choice(("caption", "text", "prompt"))
        (tmp_path / "a.json").write_text(
            mark + json.dumps({field: given[".json"], "other": 1}), encoding="utf-8"
        )
    if ".txt" in given:
        (tmp_path / "a.txt").write_text(f"{mark}{given['.txt']}\n", encoding="utf-8")
    fields = [place for place in ("caption", "text", "prompt") if place in given]
    expected = next(iter(given.values()), "")
    kind = draw.choice(("csv", "jsonl", "folder"))
    name = draw.choice(("path", "video", "file_name", "video_path"))
    if kind == "folder":
        expected = given.get(".json", given.get(".txt", "a"))
        assert [item.caption for item in find_media(tmp_path)] == [expected]
        return
    path = tmp_path / f"list.{kind}"
    if kind == "jsonl":
        row = {field: given[field] for field in draw.sample(fields, len(fields))}
        path.write_text(mark + json.dumps({name: "a.mp4"} | row) + "\n", encoding="utf-8")
    else:
        space = draw.choice(("", " "))
        quoted = [
            f'"{given[f]}"'.replace('"' + given[f] + '"', '"' + given[f].replace('"', '""') + '"')
            for f in fields
        ]
        lines = [[name, *fields], ["a.mp4", *quoted]]
        path.write_text(
            mark + "".join(("," + space).join(line) + "\n" for line in lines), encoding="utf-8"
        )
    assert [item.caption for item in read_list(path)] == [expected]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A cache, a map, a run and a pipeline of one VAE."""
    folder = tmp_path_factory.mktemp("made") / "work"
    folder.mkdir()
    for words in (
        [
            "cache-latents",
            "--vae",
            MODEL,
            "--data",
            "world",
            "--out",
            "cache",
            "--clips",
            6,
            "--shard-clips",
            2,
        ],
        ["fit-map", "cache", "map.safetensors"],
        [
            "train-diffusion",
            "dit-tiny",
            "--latents",
            "cache",
            "--out",
            "run",
            "--steps",
            1,
            "--batch-size",
            2,
        ],
        ["export", "run", "pipeline"],
        ["convert", "tiny", "other"],
        ["convert", MODEL, "same"],
    ):
        assert command(*words, folder=folder).held()
    return folder


JOINED = {
    "generate": (
        ["generate", "a disc", "--model", "run", "-n", 1, "--steps", 1, "--out", "g", "--vae"],
        2,
    ),
    "preview": (
        ["generate", "a disc", "--model", "run", "-n", 1, "--steps", 1, "--out", "g", "--preview"],
        2,
    ),
    "export": (["export", "run", "again", "--vae"], 2),
    "cache": (
        [
            "cache-latents",
            "--data",
            "world",
            "--out",
            "cache",
            "--clips",
            6,
            "--shard-clips",
            2,
            "--vae",
        ],
        2,
    ),
}


@pytest.mark.parametrize("what", JOINED)
@pytest.mark.parametrize("vae", ["other", "tiny", "same", MODEL])
def test_latents_of_others(what, vae, made, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(made, folder)
    words, _ = JOINED[what]
    done = command(*words, vae, folder=folder)
    if vae in ("other", "tiny"):
        assert done.refused("another VAE's latents"), done.said
    else:
        assert done.held(), done.said


@pytest.mark.parametrize("seed", range(12))
def test_caches_that_are_stopped_and_changed(seed, tmp_path):
    """A shard is there; then the VAE, the captions, the files or nothing is another."""
    draw, folder = random.Random(seed), tmp_path / "work"
    folder.mkdir()
    for i in range(3):
        film(folder / f"{i}.mkv", random.Random(i), 12, 10, Fraction(0))
    listed = folder / "list.csv"
    listed.write_text("path,caption\n" + "".join(f"{i}.mkv,film {i}\n" for i in range(3)))
    words = [
        "cache-latents",
        "--data",
        "list.csv",
        "--out",
        "cache",
        "--clips",
        6,
        "--shard-clips",
        2,
        "--vae",
    ]
    assert command(*words, MODEL, folder=folder).held()
    if draw.random() < 0.7:
        for name in ("index.json", "latents-00001.json"):
            (folder / "cache" / name).unlink()
    change, vae = draw.choice(("vae", "caption", "file", "more", "nothing")), MODEL
    if change == "vae":
        vae = "tiny"
    elif change == "caption":
        listed.write_text(listed.read_text().replace("film 1", "another"))
    elif change == "file":
        film(folder / "1.mkv", random.Random(9), 15, 10, Fraction(0))
    elif change == "more":
        listed.write_text(listed.read_text() + "2.mkv,once more\n")
    done = command(*words, vae, folder=folder)
    if change == "nothing":
        assert done.status == 0, done.said
    else:
        assert done.refused("another VAE's latents" if change == "vae" else "have changed"), (
            done.said
        )
