import pytest
import torch

from conftest import frame_number, write
from ssvae.data import Batch, VideoFolder, batches, find_videos, open_source
from ssvae.data.video import to_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    (root / "deep").mkdir()
    write(root / "a.mp4", 30)
    write(root / "deep" / "b.MKV", 20, 64, 48)
    (root / "notes.txt").write_text("no video")
    return root


def test_find_videos(folder, tmp_path):
    assert [p.name for p in find_videos(folder)] == ["a.mp4", "b.MKV"]
    assert find_videos(folder / "a.mp4") == [folder / "a.mp4"]
    with pytest.raises(ValueError, match="no file or folder"):
        find_videos(tmp_path / "absent")
    with pytest.raises(ValueError, match="no videos below"):
        find_videos(tmp_path)


def test_clips_are_a_pure_function_of_seed_and_index(folder):
    source = VideoFolder(folder, frames=5, height=32, width=32, seed=1)
    batch = source.batch(range(6))
    assert batch.video.shape == (6, 3, 5, 32, 32)
    assert set(batch.captions) == {"a", "b"}
    again = VideoFolder(folder, frames=5, height=32, width=32, seed=1).batch([4])
    assert torch.equal(again.video[0], batch.video[4])
    starts = {frame_number(to_images(clip)[0]) for clip in batch.video}
    assert len(starts) > 2, "clips start anywhere"
    for clip in batch.video:
        numbers = [frame_number(image) for image in to_images(clip)]
        assert numbers == list(range(numbers[0], numbers[0] + 5))


def test_broken_videos_are_skipped_counted_and_named(folder, tmp_path, caplog):
    (tmp_path / "good.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    write(tmp_path / "short.mp4", 2)
    source = VideoFolder(tmp_path, 5, 32, 32)
    batch = source.batch(range(12))
    assert set(batch.captions) == {"good"}
    assert set(source.skipped) == {"unreadable", "too short"}
    assert "bad.mp4" in caplog.text


def test_a_folder_without_a_usable_clip(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"no usable clip in 20 draws .*unreadable 20 times"):
        VideoFolder(tmp_path, 5, 32, 32).batch([0])


class Counting:
    """A source whose clips say their index."""

    def __init__(self, read_ahead: bool = False):
        self.read_ahead = read_ahead

    def batch(self, indices) -> Batch:
        video = torch.stack([torch.full((3, 1, 2, 2), float(i)) for i in indices])
        return Batch(video, [str(i) for i in indices])


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_depend_on_step_and_process_alone(ahead):
    whole = [b.captions for b in batches(Counting(ahead), 2, 1, 5)]
    assert whole == [[str(2 * i), str(2 * i + 1)] for i in range(5)]
    assert [b.captions for b in batches(Counting(ahead), 2, 4, 5)] == whole[3:]
    both = [[b.captions for b in batches(Counting(ahead), 2, 1, 3, p, 2)] for p in (0, 1)]
    drawn = [int(c) for steps in both for captions in steps for c in captions]
    assert sorted(drawn) == list(range(12))
    stopped = batches(Counting(ahead), 2, 1, 10**9)
    next(stopped)
    stopped.close()


def test_batches_refuse_what_is_not_finite():
    class Broken(Counting):
        def batch(self, indices) -> Batch:
            batch = super().batch(indices)
            if 5 in indices:
                batch.video[1] = float("nan")
            return batch

    steps = batches(Broken(), 2, 1, 9)
    next(steps), next(steps)
    with pytest.raises(ValueError, match="clip 1 of the batch of step 3 holds NaN"):
        next(steps)


def test_open_source(folder):
    assert open_source("world", 5, 16, 16).batch([0]).video.shape == (1, 3, 5, 16, 16)
    assert open_source(str(folder), 5, 16, 16).batch([0]).video.shape == (1, 3, 5, 16, 16)
    with pytest.raises(ValueError, match="no file or folder"):
        open_source("nowhere", 5, 16, 16)
