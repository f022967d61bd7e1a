"""Data that lie elsewhere: an object store and a web server, both on this machine."""

import http.server
import json
import re
import tarfile
import threading
from pathlib import Path

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from commands import SCRIPT, launch, started, status_and_output, wait_until
from made_videos import write
from small_runs import rows
from ssvae.data import open_source
from ssvae.data.buckets import sort_into_buckets
from ssvae.data.collection import Collection
from ssvae.data.fixed import FixedClips
from ssvae.data.sources import items_of, open_fixed
from ssvae.storage import distant
from ssvae.storage.distant import DistantError, content_at, files_at, here

KEYS = dict(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_DEFAULT_REGION="us-east-1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four films in the three ways in which captions stand, and two shards of them."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "films").mkdir()
    for i in range(4):
        write(folder / f"films/clip{i}.mp4", 9 + i, 32, 48)
    (folder / "films/clip0.txt").write_text("in a text")
    (folder / "films/clip1.json").write_text(json.dumps({"caption": "in an object"}))
    (folder / "films/metadata.csv").write_text("file_name,text\nclip2.mp4,in a list\n")
    rows = [{"path": f"films/clip{i}.mp4", "caption": f"row {i}"} for i in range(2)]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for shard in range(2):
        with tarfile.open(folder / f"shard-{shard:03d}.tar", "w") as tar:
            for i in (2 * shard, 2 * shard + 1):
                tar.add(folder / f"films/clip{i}.mp4", f"{i}.mp4")
    return folder


@pytest.fixture(scope="module")
def store(folder):
    """The same in a bucket of an object store."""
    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        client = boto3.client("s3")
        client.create_bucket(Bucket="lab")
        for path in folder.rglob("*.*"):
            client.upload_file(str(path), "lab", str(path.relative_to(folder)))
        yield "s3://lab"
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


EPOCH = {"in a text", "in an object", "in a list", "clip3"}


def test_a_bucket_is_read_as_a_folder_is(store, folder):
    source, same = (open_source(f"{place}/films/", 5, 16, 24) for place in (store, folder))
    assert isinstance(source, Collection)
    batch, expected = source.batch(range(8)), same.batch(range(8))
    assert set(batch.captions[:4]) == EPOCH
    assert batch.captions == expected.captions
    assert (batch.video == expected.video).all()
    # What the films are is known without reading them.
    assert items_of(source).startswith("4 files, ")
    clips = open_fixed(f"{store}/films", 4, 5, 16, 24)
    assert isinstance(clips, FixedClips)
    (fixed,) = clips.batches(4)
    assert fixed.names[0] == "s3://lab/films/clip0.mp4"
    held = sort_into_buckets(f"{store}/films", [(9, 16, 24), (11, 16, 24)])
    assert [len(films) for films in held.values()] == [2, 2]


@pytest.mark.parametrize("name", ["list.jsonl", "shard-{000..001}.tar", "shard-*.tar", ""])
def test_lists_and_shards_of_a_bucket(store, folder, name):
    place = f"{store}/{name}" if name else f"{store}/films/clip0.mp4,{store}/shard-000.tar:3"
    source = open_source(place, 5, 16, 24)
    captions = source.batch(range(4)).captions
    if name == "list.jsonl":
        assert set(captions) == {"row 0", "row 1"}
    assert source.batch(range(4)).video.shape == (4, 3, 5, 16, 24)


def test_a_list_here_names_films_there(store, tmp_path):
    (tmp_path / "list.csv").write_text(f"video,caption\n{store}/films/clip3.mp4,there\n")
    assert open_source(str(tmp_path / "list.csv"), 5, 16, 24).batch([0]).captions == ["there"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("s3://nowhere/films/", "not there"),
        ("s3://lab/absent/", "not there"),
        ("s3://lab/films/absent.mp4", "not there"),
        ("nosuch://lab/films", "no URL that can be opened"),
        ("gs://lab/films", "pip install 'ssvae\\[cloud\\]'"),
    ],
)
def test_what_is_not_there_is_an_error_at_once(store, name, reason, monkeypatch):
    monkeypatch.setattr(distant, "WAITS", ())
    with pytest.raises(ValueError, match=f"{re.escape(name)}.*{reason}"):
        open_source(name, 5, 16, 24)


def test_a_bucket_that_refuses_is_one_too(store, server, monkeypatch):
    url, faults = server
    faults["status"] = 403
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    s3fs.S3FileSystem.clear_instance_cache()
    for read in (files_at, content_at):
        with pytest.raises(DistantError, match="refused: look at the keys"):
            read("s3://lab/films/clip0.mp4")
    s3fs.S3FileSystem.clear_instance_cache()


def test_commands_take_urls(store, folder, vae_folder, tmp_path):
    for place, out in ((store, "there"), (str(folder), "here")):
        words = ["cache-latents", "--vae", vae_folder, "--data", f"{place}/films"]
        words += ["--clips", 4, "--frames", 9, "--size", 16, 24, "--out", out]
        status, said = status_and_output(*words, folder=tmp_path)
        assert status == 0, said
    one, other = ((tmp_path / out / "latents-00000.safetensors") for out in ("there", "here"))
    assert one.read_bytes() == other.read_bytes()
    words = ["encode", f"{store}/films/clip0.mp4", "z.safetensors", "--model", vae_folder]
    status, said = status_and_output(*words, folder=tmp_path)
    assert status == 0, said
    with here(f"{store}/films/clip1.json") as path:
        assert json.loads(path.read_text())["caption"] == "in an object"
    assert not path.exists()


def test_a_killed_run_from_a_bucket_goes_on_as_from_a_folder(store, folder, tmp_path):
    words = ["train", "tiny", "--batch-size", 2, "--model.z-dim", 4, "--model.base-channels", 8]
    words += ["--clip.frames", 9, "--clip.height", 16, "--clip.width", 16, "--warmup-steps", 2]
    words += ["--checkpoint-every", 3, "--tracker", "none", "--device", "cpu"]
    shards = "shard-{000..001}.tar"
    there = [*words, "--decay-steps", 100, "--data", f"{store}/{shards}", "--out", "there"]
    process, _ = started(*there, "--steps", 100, folder=tmp_path)
    saved = tmp_path / "there" / "checkpoints"
    wait_until(lambda: any(saved.glob("step-*")), process)
    process.kill()
    process.join()
    reached = max(int(path.name[5:]) for path in saved.glob("step-*"))
    steps = "--steps", reached + 2
    status, said = status_and_output(*there, *steps, folder=tmp_path)
    assert status == 0, said
    here = [*words, "--decay-steps", 100, "--data", f"{folder}/{shards}", "--out", "here"]
    status, said = status_and_output(*here, *steps, folder=tmp_path)
    assert status == 0, said
    one, other = (rows(tmp_path / out) for out in ("there", "here"))
    assert len(one) == reached + 2
    assert one == other


def test_two_processes_share_what_lies_in_a_bucket(store, folder, vae_folder, tmp_path):
    measured = []
    for place, many in ((folder, False), (store, True)):
        out = tmp_path / str(many)
        words = ["evaluate", "reconstruction", "--model", vae_folder, "--videos", f"{place}/films"]
        words += ["--clips", 4, "--frames", 9, "--size", 16, 24, "--out", f"{out}.json"]
        if many:
            launch(Path(SCRIPT), *words, "--device", "cpu")
        else:
            status, said = status_and_output(*words, folder=tmp_path)
            assert status == 0, said
        measured.append(json.loads(Path(f"{out}.json").read_text())["figures"])
    for name, figure in measured[0].items():
        assert measured[1][name]["value"] == pytest.approx(figure["value"], rel=1e-4), name


@pytest.fixture
def server(folder):
    """A web server of the folder, which gives parts, and the faults that it is to show."""
    faults = dict(status=0, cuts=0, parts=True, asked=[])

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_HEAD(self):
            self.answer(send=False)

        def do_GET(self):
            self.answer(send=True)

        def answer(self, send: bool) -> None:
            faults["asked"].append(self.headers.get("Range"))
            path = Path(self.translate_path(self.path))
            if faults["status"]:
                self.send_error(faults["status"])
                return
            if not path.is_file():
                self.send_error(404)
                return
            content, first, status = path.read_bytes(), 0, 200
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            whole = len(content)
            if span and faults["parts"]:
                first, status = int(span[1]), 206
                content = content[first : int(span[2]) + 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if not faults["parts"]:
                self.send_header("Accept-Ranges", "none")
            if status == 206:
                end = first + len(content) - 1
                self.send_header("Content-Range", f"bytes {first}-{end}/{whole}")
            self.end_headers()
            if send and faults["cuts"]:
                faults["cuts"] -= 1
                content = content[: len(content) // 2]
            if send:
                self.wfile.write(content)

        def log_message(self, *args) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
        server.shutdown()


@pytest.mark.parametrize("parts", [True, False])
def test_a_part_comes_again_after_a_cut_connection(server, folder, monkeypatch, parts, caplog):
    url, faults = server
    monkeypatch.setattr(distant, "WAITS", (0.01,))
    monkeypatch.setattr(distant, "PART", 2**10)
    expected = (folder / "shard-000.tar").read_bytes()
    faults.update(cuts=1, parts=parts)
    assert content_at(f"{url}/shard-000.tar") == expected
    assert "once more in 0.01 s" in caplog.text
    # Where every connection breaks off, it ends.
    faults["cuts"] = 10**6
    with pytest.raises(DistantError, match="not reached"):
        content_at(f"{url}/shard-000.tar")


@pytest.mark.parametrize("status", [503, 429])
def test_what_may_pass_is_tried_again(server, monkeypatch, status):
    url, faults = server
    waits = iter(range(3))

    def slept(seconds: float) -> None:
        if next(waits) == 1:
            faults["status"] = 0

    monkeypatch.setattr(distant.time, "sleep", slept)
    faults["status"] = status
    assert content_at(f"{url}/list.jsonl").startswith(b"{")


def test_a_film_that_is_gone_is_left_out(server, folder, tmp_path):
    url, _ = server
    rows = [f"{url}/films/clip{i}.mp4" for i in (0, 1, 9)]
    (tmp_path / "list.csv").write_text("\n".join(["path", *rows]))
    source = open_source(str(tmp_path / "list.csv"), 5, 16, 24)
    assert isinstance(source, Collection)
    assert source.batch(range(3)).video.shape == (3, 3, 5, 16, 24)
    assert set(source.broken) == {"not there"}
