import http.server
import io
import json
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from made_videos import write
from ssvae.data import Clip, Collection, Shards, World, open_source
from ssvae.data.collection import FileItem
from ssvae.data.listing import find_media
from ssvae.data.shard_writer import copy_file, render, write_shards
from ssvae.data.shards import expand


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch):
    monkeypatch.setattr("ssvae.data.shards.WAITS", (0.0, 0.0))


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    from PIL import Image

    root = tmp_path_factory.mktemp("media")
    for i in range(5):
        write(root / f"clip{i}.{'mp4' if i < 3 else 'mkv'}", 12 + i, 36, 48)
    Image.new("RGB", (40, 30), (0, 255, 0)).save(root / "green.jpg")
    Image.new("RGB", (40, 30), (255, 0, 0)).save(root / "red.png")
    (root / "broken.mp4").write_bytes(b"junk")
    return root


@pytest.fixture(scope="module")
def shards(media, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    written, broken = write_shards(find_media(media), copy_file, out, per_shard=3)
    assert (written, broken) == (7, ["unreadable"])
    return out


def test_the_published_layout(shards):
    assert sorted(p.name for p in shards.iterdir() if p.name != ".lock") == [
        *(f"00000{i}.{ending}" for i in range(3) for ending in ("meta.jsonl", "tar")),
        "shards.json",
    ]
    endings = set()
    for tar in sorted(shards.glob("*.tar")):
        rows = [json.loads(x) for x in tar.with_suffix(".meta.jsonl").read_text().splitlines()]
        with tarfile.open(tar) as file:
            names = file.getnames()
            keys = [file.extractfile(n).read().decode() for n in names if n.endswith(".id")]  # type: ignore[union-attr]
        assert [row["key"] for row in rows] == keys
        assert all(row["width"] and row["height"] for row in rows)
        assert all(("fps" in row) == ("duration" in row) for row in rows)
        endings |= {Path(name).suffix for name in names}
    assert endings == {".mp4", ".jpg", ".png", ".id"}, "Matroska becomes mp4"


def test_every_sample_once_an_epoch_with_its_caption(shards):
    for name in (str(shards / "{000000..000002}.tar"), str(shards / "*.tar"), str(shards)):
        source = open_source(name, 5, 16, 16)
        for epoch in (0, 1):
            captions = source.batch(range(5 * epoch, 5 * epoch + 5)).captions
            assert sorted(captions) == [f"clip{i}" for i in range(5)]
    images = open_source(str(shards / "*.tar"), 1, 16, 16)
    assert sorted(images.batch(range(7)).captions)[-2:] == ["green", "red"]


def test_frames_are_those_of_the_files(shards, media):
    of_shards = open_source(str(shards), 12, 16, 16)
    of_files = open_source(str(media), 12, 16, 16)
    a, b = of_shards.batch(range(5)), of_files.batch(range(12))
    clips = [dict(zip(x.captions, x.on(), strict=True)) for x in (a, b)]
    assert torch.equal(clips[0]["clip0"], clips[1]["clip0"]), "the only start of 12 frames"


def test_the_same_call_goes_on(media, tmp_path):
    write_shards(find_media(media), copy_file, tmp_path, per_shard=3)

    def held() -> dict[str, object]:
        """Names and fields; the members of tar files, for H.264 may come out otherwise."""
        return {
            p.name: tarfile.open(p).getnames() if p.suffix == ".tar" else p.read_text()
            for p in tmp_path.iterdir()
        }

    before, first = held(), (tmp_path / "000000.tar").stat().st_mtime_ns
    (tmp_path / "000001.tar").unlink()  # a kill before the last move
    (tmp_path / ".partial-99999999-000001.tar").write_bytes(b"half")
    written, _ = write_shards(find_media(media), copy_file, tmp_path, per_shard=3)
    assert written == 7
    assert held() == before
    assert (tmp_path / "000000.tar").stat().st_mtime_ns == first, "whole shards stay"


def test_shards_of_other_items_are_refused(media, tmp_path):
    write_shards(find_media(media), copy_file, tmp_path, per_shard=3)
    for items, each in ((find_media(media)[1:], 3), (find_media(media), 2)):
        with pytest.raises(ValueError, match="began with other settings .(items|per_shard) was"):
            write_shards(items, copy_file, tmp_path, per_shard=each)


def test_shards_of_the_world(tmp_path):
    world = World(9, 32, 48, seed=3)
    make = render(world, "world", (9, 32, 48), fps=8, seed=3)
    assert write_shards(range(4), make, tmp_path, 4) == (4, [])
    batch = open_source(str(tmp_path), 9, 32, 48).batch(range(4))
    rendered = world.batch(range(4))
    order = [rendered.captions.index(c) for c in batch.captions]
    assert float((batch.on() - rendered.video[order]).abs().mean()) < 0.05, "H.264 keeps it"


def pack(path: Path, samples: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_fields_are_checked_never_trusted(media, tmp_path, caplog):
    content = (media / "clip0.mp4").read_bytes()
    pack(tmp_path / "a.tar", {"x/1.mp4": content, "x/1.id": b"one\n", "x/2.mp4": content})
    # Lies about size, rate and length; a line of rubbish; one without a key; a key too many.
    rows = [
        '{"key": "one", "caption": "the first", "fps": 0, "duration": 1e9, "width": -3}',
        "rubbish",
        '{"caption": "of nobody"}',
        '{"key": 7}',
        '{"key": "x/2", "caption": 12}',
        '{"key": "three", "caption": "absent"}',
    ]
    (tmp_path / "a.meta.jsonl").write_text("\n".join(rows))
    batch = open_source(str(tmp_path / "a.tar"), 5, 16, 16, fps=10).batch(range(2))
    assert sorted(batch.captions) == ["", "the first"]
    assert "3 lines of" in caplog.text
    (tmp_path / "a.meta.jsonl").unlink()
    assert open_source(str(tmp_path / "a.tar"), 5, 16, 16).batch(range(2)).captions == ["", ""]


def test_broken_shards_are_named(media, shards, tmp_path, caplog):
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "000001.tar").write_bytes(b"no tar at all" * 100)
    content = (tmp_path / "000002.tar").read_bytes()
    (tmp_path / "000002.tar").write_bytes(content[: len(content) // 2])
    source = open_source(str(tmp_path), 1, 16, 16)
    assert isinstance(source, Collection)
    source.batch(range(8))
    assert "000001.tar" in caplog.text
    pack(tmp_path / "empty.tar", {"notes.txt": b"hello"})
    with pytest.raises(ValueError, match="no usable sample in"):
        open_source(str(tmp_path / "empty.tar"), 5, 16, 16)
    with pytest.raises(ValueError, match="no shards match"):
        open_source(str(tmp_path / "absent*.tar"), 5, 16, 16)
    with pytest.raises(ValueError, match=r"absent.tar: shard not reached: .*No such file"):
        open_source(str(tmp_path / "absent.tar"), 5, 16, 16)
    write(tmp_path / "loose.mp4", 6)
    with pytest.raises(ValueError, match="holds both videos and tar files"):
        open_source(str(tmp_path), 5, 16, 16)


def test_a_shard_that_vanishes_is_tried_again_and_named(shards, tmp_path, caplog, monkeypatch):
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    source = open_source(str(tmp_path), 5, 16, 16)
    (tmp_path / "000001.tar").unlink()
    captions = source.batch(range(10)).captions
    assert source.broken == {"shard not reached": 1}, "once, however many samples it holds"
    assert "000001.tar does not open" in caplog.text
    assert "once more" in caplog.text
    # It comes back: its samples are there again.
    (tmp_path / "000001.tar").write_bytes((shards / "000001.tar").read_bytes())
    again = open_source(str(tmp_path), 5, 16, 16).batch(range(10)).captions
    assert set(captions) < set(again) == {f"clip{i}" for i in range(5)}


def test_one_shard_is_divided_among_processes(media, tmp_path):
    content = (media / "clip0.mp4").read_bytes()
    pack(tmp_path / "a.tar", {f"{i}.mp4": content for i in range(8)})
    shelf = Shards("a", expand(str(tmp_path / "a.tar")), videos_only=True)
    source = Collection(shelf, Clip(5, 16, 16))
    seen = [[source.locate(i) for i in source.indices(0, 4, p, 2)] for p in (0, 1)]
    assert sorted(seen[0] + seen[1]) == [(0, i) for i in range(8)]


def test_distant_shards(shards, monkeypatch):
    """Over HTTP from a server of our own."""
    handler = partial(QuietHandler, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{{000000..000002}}.tar"
        local = open_source(str(shards / "{000000..000002}.tar"), 5, 16, 16)
        distant = open_source(url, 5, 16, 16)
        names = set(distant.batch(range(12)).captions)
        assert names == set(local.batch(range(5)).captions)
        piped = f"pipe:curl -s {url.replace('{000000..000002}', '000000')}"
        with pytest.raises(ValueError, match="would run a command in a shell.*SSVAE_ALLOW_PIPES=1"):
            open_source(piped, 1, 16, 16)
        monkeypatch.setenv("SSVAE_ALLOW_PIPES", "1")
        assert len(open_source(piped, 1, 16, 16).batch(range(3)).captions) == 3
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def test_mutated_videos_do_not_bring_the_loader_down(tmp_path):
    """Two hundred files with bytes changed, cut out and cut off, one good one among them."""
    good = write(tmp_path / "good.mp4", 12, 36, 48).read_bytes()
    others = [write(tmp_path / f"x.{kind}", 12, 36, 48).read_bytes() for kind in ("mkv", "webm")]
    for path in tmp_path.iterdir():
        path.unlink()
    rng, samples = np.random.default_rng(0), {}
    for i in range(200):
        kind, content = [("mp4", good), ("mkv", others[0]), ("webm", others[1])][i % 3]
        data = bytearray(content)
        for at in rng.integers(0, len(data), 1 + i // 40):
            data[at] = rng.integers(256)
        if i % 5 == 0:
            start = int(rng.integers(len(data)))
            del data[start : start + int(rng.integers(len(data)))]
        if i % 7 == 0:
            data = data[: int(rng.integers(len(data)))]
        samples[f"{i}.{kind}"] = bytes(data)
    samples["good.mp4"] = good
    pack(tmp_path / "a.tar", samples)
    source = open_source(str(tmp_path / "a.tar"), 5, 16, 16, fps=8, max_broken=1.0)
    batch = source.batch(range(201))
    assert batch.video.shape == (201, 3, 5, 16, 16)
    assert torch.isfinite(batch.on()).all()
    assert source.broken.total() > 20


def test_items_of_which_none_is_usable_leave_nothing(media, tmp_path):
    nothing = [FileItem(tmp_path / "none.mp4"), FileItem(tmp_path / "no.mp4")]
    written, reasons = write_shards(nothing, copy_file, tmp_path / "out", per_shard=1)
    assert (written, reasons) == (0, ["no such file"] * 2)
    assert not (tmp_path / "out").exists()
    written, _ = write_shards(find_media(media), copy_file, tmp_path / "out", per_shard=3)
    assert written > 0
