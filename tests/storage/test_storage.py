import errno
import hashlib
import os
import stat

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ssvae.storage import digests
from ssvae.storage.digests import damaged, seal
from ssvae.storage.files import (
    Replacement,
    check_file,
    check_folder,
    read_json,
    read_rows,
    replacing,
    write_json,
    write_text,
)
from ssvae.storage.runs import checkpoint_folder, checkpoints


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"half")
            assert path.read_bytes() == b"before"
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_bytes() == b"before"
    with replacing(path) as partial:
        assert partial.parent == path.parent  # one move, on one disk
        assert partial.suffix == ".bin"  # which some libraries go by
        partial.write_bytes(b"after")
    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_folder_takes_the_place_of_another(tmp_path):
    path = tmp_path / "folder"
    for content in ("one", "two"):
        with replacing(path) as partial:
            partial.mkdir()
            (partial / content).touch()
    assert os.listdir(path) == ["two"]

    def fail() -> None:
        with replacing(path) as partial:
            partial.mkdir()
            (partial / "three").touch()
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert os.listdir(path) == ["two"]
    assert os.listdir(tmp_path) == ["folder"]


def test_what_a_kill_left_is_overwritten(tmp_path):
    path = tmp_path / "folder"
    left = Replacement(path).partial
    left.mkdir()
    (left / "half").touch()
    with replacing(path) as partial:
        partial.mkdir()
        (partial / "whole").touch()
    assert os.listdir(path) == ["whole"]
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    "full", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: full")]
)
def test_a_full_disk_is_told_with_the_name(tmp_path, full):
    def write() -> None:
        with replacing(tmp_path / "a.bin") as partial:
            partial.write_bytes(b"half")
            raise full

    with pytest.raises(OSError, match=r"a.bin could not be written \(.*\): where the disk is full"):
        write()
    assert os.listdir(tmp_path) == []


def test_text_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        write_text(tmp_path / "a", "text")
    assert os.listdir(tmp_path) == ["a"]


def test_text_and_rows(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2]}, indent=1)
    assert (tmp_path / "a.json").read_text() == '{\n "a": [\n  1,\n  2\n ]\n}\n'
    write_text(tmp_path / "rows.jsonl", '{"step": 1}\n{"step": 2}\n')
    assert read_rows(tmp_path / "rows.jsonl") == [{"step": 1}, {"step": 2}]
    assert sorted(os.listdir(tmp_path)) == ["a.json", "rows.jsonl"]
    (tmp_path / "rows.jsonl").write_bytes(b'{"step": 1}\n{"st\xff\n')
    with pytest.raises(ValueError, match=r"line 2 of .*rows.jsonl does not read"):
        read_rows(tmp_path / "rows.jsonl")


def test_checkpoints_in_the_order_of_their_steps(tmp_path):
    for step in (200, 5, 1000):
        checkpoint_folder(tmp_path, step).mkdir(parents=True)
    (tmp_path / "checkpoints" / ".partial-step-00002000").mkdir()
    assert [step for step, _ in checkpoints(tmp_path)] == [5, 200, 1000]
    assert checkpoints(tmp_path / "none") == []


def test_a_folder_is_asked_for_before_the_work(tmp_path):
    check_folder(tmp_path)
    check_folder(tmp_path / "a" / "b")
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "inside"):
        with pytest.raises(ValueError, match=f"cannot write into {path}: {file} is a file"):
            check_folder(path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_asked_for_before_the_work(tmp_path):
    check_file(tmp_path / "a")
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="it is a folder, give the name of a file in it"):
        check_file(tmp_path)
    with pytest.raises(ValueError, match=f"there is no folder {tmp_path / 'none'}"):
        check_file(tmp_path / "none" / "a")


def test_broken_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"steps": 3,')
    with pytest.raises(ValueError, match=r"config.json does not read as JSON .*: put back a copy"):
        read_json(tmp_path / "config.json")


def test_seals_find_what_changed(tmp_path):
    (tmp_path / "vae").mkdir()
    for name in ("a.bin", "vae/b.bin"):
        (tmp_path / name).write_bytes(b"0123")
    assert damaged(tmp_path) == []  # not sealed
    seal(tmp_path)
    assert damaged(tmp_path) == []
    (tmp_path / "vae" / "b.bin").write_bytes(b"0133")
    assert damaged(tmp_path) == damaged(tmp_path, "vae/") == ["vae/b.bin"]
    (tmp_path / "a.bin").unlink()
    assert damaged(tmp_path) == ["a.bin", "vae/b.bin"]
    (tmp_path / "sha256.json").write_text("[")
    assert damaged(tmp_path) == ["sha256.json"]


def test_who_shares_a_folder_may_read_what_is_written(tmp_path):
    """safetensors writes for its owner alone; here files are by the umask, as others are."""
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "weights.safetensors") as partial:
            save_file({"a": torch.zeros(1)}, partial)
        with replacing(tmp_path / "model") as partial:
            (partial / "vae").mkdir(parents=True)
            save_file({"a": torch.zeros(1)}, partial / "vae" / "weights.safetensors")
    finally:
        os.umask(before)
    for path in ("weights.safetensors", "model/vae/weights.safetensors"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "weights.safetensors"]


def test_a_large_files_digest_is_taken_once_on_a_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("SSVAE_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(digests, "LARGE", 4)
    file, read = tmp_path / "shard", []
    monkeypatch.setattr(
        digests, "_read", lambda path, own=digests._read: read.append(1) or own(path)
    )
    file.write_bytes(b"some bytes")
    expected = hashlib.sha256(b"some bytes").hexdigest()
    for _ in range(2):
        digests._digest.cache_clear()  # as another process begins
        assert digests.digest(file) == expected
    assert len(read) == 1
    file.write_bytes(b"other bytes")
    assert digests.digest(file) == hashlib.sha256(b"other bytes").hexdigest()
    (tmp_path / "none").touch()
    monkeypatch.setenv("SSVAE_CACHE", str(tmp_path / "none"))  # no folder: it is read, not kept
    digests._digest.cache_clear()
    assert digests.digest(file) == hashlib.sha256(b"other bytes").hexdigest()
