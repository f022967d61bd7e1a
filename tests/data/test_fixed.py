import pytest
import torch

from made_videos import write
from ssvae.data import World, count_files, open_fixed
from ssvae.data.collection import FileItem
from ssvae.data.fixed import file_of
from ssvae.data.listing import find_videos
from ssvae.data.shard_writer import copy_file, write_shards


def films(folder, count=3):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        write(folder / f"{i}.mkv", 12 + 4 * i, 32, 32)
    return folder


def read(clips, size=2, **share):
    found = {}
    for batch in clips.batches(size, **share):
        found |= dict(zip(batch.names, batch.video, strict=True))
    return found


def test_the_same_clips_in_any_order_batch_and_process(tmp_path):
    folder = films(tmp_path / "films")
    whole = read(open_fixed(str(folder), 8, 5, 16, 16), size=8)
    assert len(whole) == 8
    for name, order in (("a", "012"), ("b", "201")):
        lines = "".join(f"films/{i}.mkv\n" for i in order)
        (tmp_path / f"{name}.csv").write_text("path\n" + lines)
        again = read(open_fixed(str(tmp_path / f"{name}.csv"), 8, 5, 16, 16), size=3)
        assert all(torch.equal(again[key], whole[key]) for key in whole)
    shares = [read(open_fixed(str(folder), 8, 5, 16, 16), process=p, processes=3) for p in range(3)]
    assert [len(share) for share in shares] == [3, 3, 2]
    together = shares[0] | shares[1] | shares[2]
    assert all(torch.equal(together[key], whole[key]) for key in whole)


def test_files_share_the_clips(tmp_path):
    folder = films(tmp_path / "films", 4)
    two = read(open_fixed(str(folder), 2, 5, 16, 16))
    assert [name[-5:] for name in two] == ["0.mkv", "2.mkv"]
    ten = list(read(open_fixed(str(folder), 10, 5, 16, 16)))
    assert [sum(f"{i}.mkv" in name for name in ten) for i in range(4)] == [3, 3, 2, 2]
    assert len(set(ten)) == 10


def test_a_broken_file_is_named_and_left_out(tmp_path, caplog):
    folder = films(tmp_path / "films")
    (folder / "1.mkv").write_bytes(b"junk")
    clips = open_fixed(str(folder), 3, 5, 16, 16)
    assert len(read(clips)) == 2
    assert clips.broken == {str(folder / "1.mkv"): "unreadable"}
    assert "1.mkv" in caplog.text
    assert read(open_fixed(str(folder), 3, 200, 16, 16)) == {}
    with pytest.raises(ValueError, match="at least 1, got 0"):
        open_fixed("world", 0, 5, 16, 16)


def test_a_list_may_name_a_file_again(tmp_path):
    films(tmp_path / "films", 2)
    (tmp_path / "list.csv").write_text(
        "path,caption\nfilms/0.mkv,a\nfilms/1.mkv,b\nfilms/0.mkv,c\n"
    )
    names = list(read(open_fixed(str(tmp_path / "list.csv"), 6, 5, 16, 16)))
    assert len(names) == 6
    assert len({file_of(name) for name in names}) == 2
    assert count_files(str(tmp_path / "list.csv"), 5) == 3
    assert count_files(f"{tmp_path / 'films'},world", 5) is None


def test_shards_worlds_and_mixtures(tmp_path):
    films(tmp_path / "films")
    items = [FileItem(path) for path in find_videos(tmp_path / "films")]
    write_shards(items, copy_file, tmp_path / "shards", per_shard=2)
    shards = read(open_fixed(str(tmp_path / "shards"), 3, 5, 16, 16))
    files = read(open_fixed(str(tmp_path / "films"), 3, 5, 16, 16))
    for a, b in zip(shards.values(), files.values(), strict=True):
        assert (a - b).abs().max() < 0.2  # videos that are no MP4 are encoded anew
    world = read(open_fixed("world", 3, 5, 16, 16, seed=4))
    true = World(5, 16, 16, 4).batch(range(3)).video
    assert torch.equal(torch.stack(list(world.values())), true)
    mixed = read(open_fixed(f"{tmp_path / 'films'}:2,world:1", 9, 5, 16, 16))
    assert sum("of world 0" in name for name in mixed) == 3
    assert len(mixed) == 9
