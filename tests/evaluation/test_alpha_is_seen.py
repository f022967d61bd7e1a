"""Films with alpha are measured as they are seen, whatever they hide."""

import numpy as np
import pytest
import torch

from ssvae.data import open_fixed
from ssvae.data.collection import FileItem
from ssvae.data.pixels import of_colours
from ssvae.data.shard_writer import copy_file, write_shards
from ssvae.data.video_writer import VideoWriter, write_video
from ssvae.data.world import World
from ssvae.evaluation.judge import frames_of
from ssvae.evaluation.measure import FilePairs, measure_clips, measure_pairs


@pytest.fixture
def clip() -> torch.Tensor:
    return World(9, 32, 32, channels=4).batch([3]).video[0]


def test_pairs_of_files(tmp_path, clip):
    """Another alpha is an error, and a film without is opaque."""
    for folder in ("true", "same", "wrong"):
        (tmp_path / folder).mkdir()
    write_video(tmp_path / "true" / "a.mkv", clip, 8)
    write_video(tmp_path / "same" / "a.mkv", clip, 8)
    write_video(tmp_path / "wrong" / "a.mkv", of_colours(clip[:3], 4), 8)
    found = {
        other: measure_pairs(FilePairs(tmp_path / "true", tmp_path / other, 9).read())
        for other in ("same", "wrong")
    }
    assert found["same"].clips["a"]["psnr"] == 100
    assert found["wrong"].clips["a"]["psnr"] < 10


def test_features_and_frames_for_a_judge(tmp_path, clip):
    """Over chequers; films without alpha give what they gave, checksums too."""

    def network(clips: torch.Tensor) -> torch.Tensor:
        return clips.flatten(1)[:, :4]

    colours = World(9, 32, 32).batch([3]).video[0]
    write_video(tmp_path / "plain.mkv", colours, 8)
    ours, plain = (
        measure_clips(open_fixed(str(tmp_path / "plain.mkv"), 1, 9, 32, 32, channels=n), network, 1)  # type: ignore[arg-type]
        for n in (4, 3)
    )
    assert ours.checksums == plain.checksums
    write_video(tmp_path / "a.mkv", clip, 8)
    (frame,) = frames_of(tmp_path / "a.mkv", 1, 32)
    assert frame.shape == (32, 32, 3)
    assert set(np.unique(frame[0, :16])) == {51, 128}


def test_shards_keep_alpha(tmp_path, clip):
    for name in ("a.mov", "b.webm", "c.mkv"):
        write_video(tmp_path / name, clip, 8)
    with VideoWriter(tmp_path / "d.mov", 32, 32, 8) as writer:
        for _ in range(9):
            writer.write(np.full((32, 32, 3), 90, np.uint8))
    items = [FileItem(path) for path in sorted(tmp_path.iterdir())]
    assert write_shards(items, copy_file, tmp_path / "shards")[0] == 4
    batches = open_fixed(str(tmp_path / "shards"), 4, 9, 32, 32, channels=4).batches(4)
    video = next(iter(batches)).on()
    for read in video[:3]:
        assert (read - clip).abs().mean() < 0.01
    assert (video[3, 3] == 1).all()
