"""Lists in columns: as they stand, and kept in files where they are large."""

import csv
import json
import logging

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from ssvae.data import lists, open_source
from ssvae.data.captions import _said
from ssvae.data.collection import Clip, Collection, Files
from ssvae.data.lists import read_list
from ssvae.storage.seeds import permuted

ROWS = [
    ("a/one.mp4", "ein Film über Wasser"),
    ("two.png", "a picture"),
    ("s3://bucket/three.mp4", "there"),
    ("/absolute/four.mp4", ""),
]


def write(folder, kind):
    path = folder / f"list.{kind}"
    names = [name for name, _ in ROWS]
    texts = [text for _, text in ROWS]
    if kind == "csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "caption"), *ROWS])
    elif kind == "jsonl":
        rows = (json.dumps(dict(video=name, text=text)) for name, text in ROWS)
        path.write_text("\n".join(rows))
    else:
        table = pyarrow.table({"file_name": names, "prompt": texts, "other": [1, 2, 3, 4]})
        pyarrow.parquet.write_table(table, path)
    return path


@pytest.fixture(params=[False, True], ids=["in memory", "kept"])
def large(request, tmp_path, monkeypatch):
    """Whether a list counts as a large one."""
    monkeypatch.setenv("SSVAE_CACHE", str(tmp_path / "kept"))
    if request.param:
        monkeypatch.setattr(lists, "LARGE", 1)
    return request.param


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_kind_holds_the_same(tmp_path, kind, large):
    path = write(tmp_path, kind)
    for _ in range(2):  # the second time as it was kept
        items = read_list(path)
        found = [(str(item.path), item.caption) for item in items]
        assert found[0] == (str(tmp_path / "a/one.mp4"), ROWS[0][1])
        assert found[1:] == [(str(tmp_path / "two.png"), ROWS[1][1]), *ROWS[2:]]
        assert [str(item.path) for item in items.films()] == [found[i][0] for i in (0, 2, 3)]
        assert items[-1] == items[3]
        assert items[1:3] == [items[1], items[2]]
        with pytest.raises(IndexError):
            items[4]
    assert (tmp_path / "kept").exists() == large


def test_a_name_of_any_bytes(tmp_path, large):
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps(dict(path="film-\udcff.mp4", caption="x")))
    (item,) = read_list(path)
    assert item.path == tmp_path / "film-\udcff.mp4"


def test_a_list_that_changes_is_read_anew(tmp_path, large, caplog):
    path = write(tmp_path, "csv")
    first = read_list(path)
    path.write_text("path,caption\nother.mp4,changed\n")
    (item,) = read_list(path)
    assert item.caption == "changed"
    assert first[0].caption == ROWS[0][1]  # who has the old one open keeps it
    _said.clear()
    with caplog.at_level(logging.INFO):
        read_list(path)
    assert "1 from the column caption" in caplog.text


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_is_no_list(tmp_path, kind, large):
    path = tmp_path / f"bad.{kind}"
    path.write_bytes(b"\xff\xfe nothing \n\n")
    with pytest.raises(ValueError, match=f"bad.{kind}"):
        read_list(path)
    with pytest.raises(ValueError, match="no list of files"):
        read_list(tmp_path / f"none.{kind}")


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 1000])
def test_a_permutation_that_is_computed(length):
    orders = [[permuted(i, length, seed, 3) for i in range(length)] for seed in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(length))
    assert length < 7 or orders[0] != orders[1]


def test_it_mixes_as_a_random_one_does():
    """Neighbours land apart: no correlation of positions with places, nor of one with the next."""
    order = np.array([permuted(i, 5000, 0, 0) for i in range(5000)])
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert abs((order == np.arange(5000)).sum() - 1) < 6  # fixed points


def test_orders_of_very_many_files_are_computed(tmp_path, monkeypatch):
    monkeypatch.setattr("ssvae.data.collection.MANY", 2)
    items = read_list(write(tmp_path, "csv"))
    source = Collection(Files("list", items), Clip(1, 8, 8))
    for epoch in range(3):
        places = [source.locate(4 * epoch + i) for i in range(4)]
        assert sorted(places) == [(i, 0) for i in range(4)]


def test_a_list_of_pictures_alone_gives_no_clips(tmp_path):
    (tmp_path / "list.csv").write_text("path\none.png\n")
    with pytest.raises(ValueError, match="holds images alone"):
        open_source(str(tmp_path / "list.csv"), 5, 8, 8)
