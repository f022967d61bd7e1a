import json
import os

import pytest
import torch

from made_videos import frame_number, write
from ssvae.data import Batch, Clip, Collection, Loader, batches, find_videos, open_source
from ssvae.data.batch import in_turn
from ssvae.data.collection import FileItem, Files
from ssvae.data.listing import find_media
from ssvae.data.loader import reading_threads
from ssvae.data.pixels import to_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    (root / "deep").mkdir()
    write(root / "a.mp4", 30)
    write(root / "deep" / "b.MKV", 20, 64, 48)
    (root / "notes.txt").write_text("no video")
    return root


def videos(path, frames=5, size=32, **more) -> Collection:
    return Collection(Files(str(path), find_media(path)), Clip(frames, size, size), **more)


def test_find_videos(folder, tmp_path):
    assert [p.name for p in find_videos(folder)] == ["a.mp4", "b.MKV"]
    assert find_videos(folder / "a.mp4") == [folder / "a.mp4"]
    with pytest.raises(ValueError, match="no file or folder"):
        find_videos(tmp_path / "absent")
    with pytest.raises(ValueError, match="no videos below"):
        find_videos(tmp_path)


def test_clips_are_a_pure_function_of_seed_and_index(folder):
    source = videos(folder, seed=1)
    batch = source.batch(range(6))
    assert batch.video.shape == (6, 3, 5, 32, 32)
    assert batch.video.dtype == torch.uint8
    again = videos(folder, seed=1).batch([4])
    assert torch.equal(again.video[0], batch.video[4])
    starts = {frame_number(to_images(clip)[0]) for clip in batch.on()}
    assert len(starts) > 2, "clips start anywhere"
    for clip in batch.on():
        numbers = [frame_number(image) for image in to_images(clip)]
        assert numbers == list(range(numbers[0], numbers[0] + 5))


def test_every_file_once_an_epoch(folder):
    source = videos(folder)
    captions = source.batch(range(16)).captions
    epochs = [tuple(captions[e : e + 2]) for e in range(0, 16, 2)]
    assert set(epochs) == {("a", "b"), ("b", "a")}, "in another order"


def test_a_draw_does_not_go_through_all_lengths():
    class Counted(list):
        times = 0

        def __iter__(self):
            self.times += 1
            return super().__iter__()

    shelf = Files("many", [FileItem(None, str(i)) for i in range(10)])  # type: ignore[arg-type]
    shelf.lengths = Counted(shelf.lengths)
    source = Collection(shelf, Clip(1, 8, 8), seed=3)
    source.locate(0)
    before = shelf.lengths.times
    assert sorted(source.locate(i)[0] for i in range(10)) == list(range(10))
    assert shelf.lengths.times == before


def test_processes_share_an_epoch_and_no_draw():
    shelf = Files("many", [FileItem(None, str(i)) for i in range(10)])  # type: ignore[arg-type]
    source = Collection(shelf, Clip(1, 8, 8), seed=3)
    drawn = [[source.indices(n, 2, p, 2) for n in range(5)] for p in (0, 1)]
    flat = [[i for indices in of for i in indices] for of in drawn]
    assert not set(flat[0]) & set(flat[1])
    # In five batches of two each process goes through its half of the files twice.
    first = [{source.locate(i)[0] for i in of[:5]} for of in flat]
    assert first[0] | first[1] == set(range(10))
    assert not first[0] & first[1]
    more = [source.indices(n, 1, p, 16) for n in range(3) for p in range(16)]
    flat = [i for indices in more for i in indices]
    assert len(set(flat)) == len(flat), "no draw twice where processes outnumber files"


def test_broken_videos_are_skipped_counted_and_named(folder, tmp_path, caplog):
    (tmp_path / "good.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    write(tmp_path / "short.mp4", 2)
    source = videos(tmp_path)
    batch = source.batch(range(12))
    assert set(batch.captions) == {"good"}
    assert set(source.broken) == {"unreadable", "too short"}
    assert source.reads == 12 + source.broken.total()
    assert "bad.mp4" in caplog.text


def test_a_folder_without_a_usable_clip(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"no usable clip in 20 draws .*unreadable 20 times"):
        videos(tmp_path).batch([0])


def test_too_many_broken_items_end_the_run_with_their_reasons(folder, tmp_path, caplog):
    (tmp_path / "good.mp4").write_bytes((folder / "a.mp4").read_bytes())
    for i in range(2):
        (tmp_path / f"{i}.mp4").write_bytes(b"junk")
    source = videos(tmp_path, max_broken=0.5)
    with pytest.raises(ValueError, match=r"broken \(unreadable \d+ times\), more than .* 0.5 "):
        source.batch(range(200))
    assert source.reads >= 100
    assert caplog.text.count("0.mp4") == 1, "named once"
    videos(tmp_path, max_broken=1.0).batch(range(60))


def test_a_length_that_the_file_claims_is_not_trusted(tmp_path):
    """A header that tells of a minute, where two seconds are there."""
    path = write(tmp_path / "a.mp4", 20)
    content = bytearray(path.read_bytes())
    for box, at in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        start = content.index(box) + 4 + at
        value = int.from_bytes(content[start : start + 4], "big")
        content[start : start + 4] = (value * 30).to_bytes(4, "big")
    path.write_bytes(content)
    batch = videos(tmp_path).batch(range(8))
    assert batch.video.shape[0] == 8
    assert videos(tmp_path).broken.total() == 0


def test_lists_with_captions(folder, tmp_path):
    (tmp_path / "one.mp4").write_bytes((folder / "a.mp4").read_bytes())
    csv, jsonl = tmp_path / "list.csv", tmp_path / "list.jsonl"
    csv.write_text(f'path,caption\none.mp4,"a ramp, moving"\n{folder / "deep" / "b.MKV"},other\n')
    rows = [{"video": "one.mp4", "text": "a ramp, moving"}, {"file": "gone.mp4"}]
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert set(open_source(str(csv), 5, 16, 16).batch(range(2)).captions) == {
        "a ramp, moving",
        "other",
    }
    listed = open_source(str(jsonl), 5, 16, 16)
    assert set(listed.batch(range(4)).captions) == {"a ramp, moving"}
    assert set(listed.broken) == {"no such file"}
    csv.write_text("name\none.mp4\n")
    with pytest.raises(ValueError, match="entry 1 of .* names no file"):
        open_source(str(csv), 5, 16, 16)
    jsonl.write_text('{"path": "a.mp4"}\n{nonsense\n')
    with pytest.raises(ValueError, match="does not read as a list: line 2, "):
        open_source(str(jsonl), 5, 16, 16)
    csv.write_text("path\n")
    with pytest.raises(ValueError, match="names no file"):
        open_source(str(csv), 5, 16, 16)
    with pytest.raises(ValueError, match="no list of files"):
        open_source("nowhere.csv", 5, 16, 16)


def test_images_belong_to_sources_of_one_frame(folder, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (30, 40), (0, 0, 255)).save(tmp_path / "blue.jpg", quality=95)
    source = open_source(str(tmp_path), 1, 16, 16)
    batch = source.batch(range(2))
    shown = dict(zip(batch.captions, batch.on(), strict=True))
    red, blue = torch.tensor([1.0, -1, -1]), torch.tensor([-1.0, -1, 1])
    assert torch.allclose(shown["red"].mean((1, 2, 3)), red, atol=0.02)
    assert torch.allclose(shown["blue"].mean((1, 2, 3)), blue, atol=0.04)
    with pytest.raises(ValueError, match="holds images alone"):
        open_source(str(tmp_path), 5, 16, 16)
    (tmp_path / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    assert set(open_source(str(tmp_path), 5, 16, 16).batch(range(3)).captions) == {"a"}
    assert set(open_source(str(tmp_path), 1, 16, 16).batch(range(3)).captions) == {
        *("a", "red", "blue")
    }


def test_mixtures(folder):
    mixed = open_source(f"{folder}:3,world:1", 5, 16, 16, seed=2)
    captions = mixed.batch(range(16)).captions
    real = [caption in "ab" for caption in captions]
    assert sum(real) == 12
    assert all(sum(real[i : i + 4]) == 3 for i in range(0, 16, 4)), "evenly spread"
    # Each source goes through its own, whoever else is there.
    own = open_source(str(folder), 5, 16, 16, seed=2).batch(range(12)).captions
    assert [c for c, r in zip(captions, real, strict=True) if r] == own
    shares = [mixed.indices(n, 4, p, 2) for n in range(3) for p in (0, 1)]
    flat = [i for indices in shares for i in indices]
    assert len(set(flat)) == len(flat)
    for wrong in ("world:0,world:1", "world,,world"):
        with pytest.raises(ValueError, match="A:3,B:1"):
            open_source(wrong, 5, 16, 16)


class Counting:
    """A source whose clips say their index."""

    def __init__(self, read_ahead: bool = False, frames: int = 3):
        self.read_ahead, self.frames = read_ahead, frames
        self.indices = in_turn

    def batch(self, indices) -> Batch:
        clips = [torch.full((3, self.frames, 2, 2), float(i)) for i in indices]
        return Batch(torch.stack(clips), [str(i) for i in indices])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_depend_on_number_and_process_alone(workers):
    ahead = workers > 0

    def captions(numbers, *share) -> list[list[str]]:
        loader = Loader([Counting(ahead)], 2, None, 1, 0.0, *share)
        return [b.captions for b in batches(loader, numbers, workers)]

    whole = captions(range(5))
    assert whole == [[str(2 * i), str(2 * i + 1)] for i in range(5)]
    assert captions(range(3, 5)) == whole[3:]
    both = [captions(range(3), p, 2) for p in (0, 1)]
    assert [sorted(map(int, a + b)) for a, b in zip(*both, strict=True)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    stopped = batches(Loader([Counting(ahead)], 2), range(10**9), workers)
    next(stopped)
    stopped.close()


@pytest.mark.parametrize("share", [1 / 8, 0.3, 0.5])
def test_images_come_at_their_share_and_none_is_left_out(share):
    loader = Loader([Counting()], 2, Counting(frames=1), 3, share)
    read = [loader.read(n) for n in range(80)]
    images = [b.captions for b in read if b.video.shape[2] == 1]
    clips = [b.captions for b in read if b.video.shape[2] == 3]
    assert len(images) == round(80 * share)
    assert [int(c) for row in images for c in row] == list(range(3 * len(images)))
    assert [int(c) for row in clips for c in row] == list(range(2 * len(clips)))


def test_batches_refuse_what_is_not_finite():
    class Broken(Counting):
        def batch(self, indices) -> Batch:
            batch = super().batch(indices)
            if 5 in indices:
                batch.video[1] = float("nan")
            return batch

    steps = batches(Loader([Broken()], 2), range(9))
    next(steps), next(steps)
    with pytest.raises(ValueError, match="clip 1 of batch 3 holds NaN"):
        next(steps)


def test_open_source(folder):
    assert open_source("world", 5, 16, 16).batch([0]).video.shape == (1, 3, 5, 16, 16)
    assert open_source(str(folder), 5, 16, 16).batch([0]).video.shape == (1, 3, 5, 16, 16)
    with pytest.raises(ValueError, match="no file or folder"):
        open_source("nowhere", 5, 16, 16)


def test_processes_of_a_machine_share_its_threads(monkeypatch):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert reading_threads() == cores
    assert reading_threads(3) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores))
    assert reading_threads() == 1
