"""Clips of several sizes: films in buckets, caches of them, and a diffusion model that learns all."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import pytest
import torch

from commands import SCRIPT, launch, status_and_output
from small_diffusion import small_recipe
from small_runs import cpu
from ssvae.data import World, write_video
from ssvae.data.buckets import bucket_of, parse_buckets, sort_into_buckets
from ssvae.data.video import VideoInfo
from ssvae.diffusion import train_diffusion
from ssvae.diffusion.building import problems_of
from ssvae.diffusion.order import BatchOrder
from ssvae.diffusion.pipeline import generate, open_pipeline
from ssvae.diffusion.recipe import RepaConfig
from ssvae.latents import LatentBuckets, LatentCache, MapConfig
from ssvae.latents.reading import open_latents
from ssvae.spectra import ChannelSpectrum
from ssvae.storage.seeds import generator_of

SIZES = parse_buckets(["9x32x32", "5x32x48", "9x32x48"])


def info(width: int, height: int, frames: int, aspect: int = 1, fps: int = 8) -> VideoInfo:
    return VideoInfo(
        width,
        height,
        Fraction(fps),
        frames / fps,
        frames,
        Fraction(1, fps),
        False,
        Fraction(aspect),
    )


@pytest.mark.parametrize(
    ("film", "fps", "expected"),
    [
        (info(64, 64, 9), None, (9, 32, 32)),
        (info(72, 48, 9), None, (9, 32, 48)),
        (info(72, 48, 8), None, (5, 32, 48)),  # too short for the longer one
        (info(36, 48, 9, aspect=2), None, (9, 32, 48)),  # pixels twice as wide as they are high
        (info(48, 72, 9), None, (9, 32, 32)),  # upright films are nearest to square ones
        (info(64, 64, 8), None, (5, 32, 48)),  # the only one that it is long enough for
        (info(64, 64, 4), None, None),
        (info(72, 48, 9), 4, None),  # a second and an eighth: four frames at four a second
        (info(72, 48, 8), 9, (9, 32, 48)),
    ],
)
def test_the_bucket_of_a_film(film, fps, expected):
    assert bucket_of(film, SIZES, fps) == expected


def test_the_largest_that_does_not_enlarge():
    sizes = parse_buckets(["9x16x24", "9x32x48", "9x64x96"])
    assert bucket_of(info(60, 40, 9), sizes) == (9, 32, 48)
    assert bucket_of(info(12, 8, 9), sizes) == (9, 16, 24)


@pytest.mark.parametrize("name", ["9x32", "9 x 32 x 32", "0x32x32", "9X32x32", ""])
def test_what_names_no_bucket(name):
    with pytest.raises(ValueError, match="is written FRAMESxHEIGHTxWIDTH"):
        parse_buckets([name])
    with pytest.raises(ValueError, match="9x32x32 is named twice"):
        parse_buckets(["9x32x32"] * 2)


def test_batches_are_of_one_bucket_and_every_clip_comes_once_an_epoch():
    order = BatchOrder(seed=3, counts=[8, 12, 4], size=2, processes=2)
    epoch = [order.indices(number, process) for number in range(6) for process in range(2)]
    assert sorted(chain.from_iterable(epoch)) == list(range(24))
    buckets = [{int(i >= 8) + int(i >= 20) for i in batch} for batch in epoch]
    assert all(len(some) == 1 for some in buckets)
    assert buckets[::2] == buckets[1::2]  # alike on both processes
    assert epoch != [order.indices(number, p) for number in range(6, 12) for p in range(2)]
    assert order.indices(2, 1) == epoch[5]  # in any order

    # Where they do not divide, small buckets begin their next order early.
    order = BatchOrder(seed=3, counts=[3, 5], size=2)
    seen = Counter(i for number in range(5 * 4) for i in order.indices(number))
    assert max(seen.values()) - min(seen.values()) <= 2


def test_one_bucket_is_one_shuffled_sequence():
    order = BatchOrder(seed=5, counts=[7], size=3, processes=2)
    positions = [
        i
        for epoch in range(3)
        for i in torch.randperm(7, generator=generator_of(5, epoch)).tolist()
    ]
    found = [i for number in range(3) for p in range(2) for i in order.indices(number, p)]
    assert found == positions[:18]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Six wide films, three square ones, a short wide one, and a file that is none."""
    folder = tmp_path_factory.mktemp("films")
    clips = World(9, 48, 48).batch(range(10))
    wide = torch.nn.functional.interpolate(clips.video, (9, 48, 72))
    for i in range(10):
        clip = wide[i] if i < 6 else clips.video[i] if i < 9 else wide[i, :, :6]
        write_video(folder / f"{i}.mp4", clip, fps=8)
        (folder / f"{i}.txt").write_text(clips.captions[i])
    (folder / "broken.mp4").write_text("no film")
    return folder


@pytest.fixture(scope="module")
def written(films, vae_folder, tmp_path_factory):
    """A cache of buckets, by the command line."""
    out = tmp_path_factory.mktemp("buckets") / "latents"
    command = ["cache-latents", "--vae", vae_folder, "--data", films, "--clips", 20]
    buckets = ["--buckets", "9x32x48", "9x32x32", "5x32x48"]
    status, output = status_and_output(*command, *buckets, "--out", out, folder=out.parent)
    assert status == 0, output
    assert "left out" in output
    assert "latents of 4 x 3 x 8 x 12" in output
    return out


def test_each_bucket_is_a_cache_of_its_films(written, films):
    buckets = LatentBuckets(written)
    assert buckets.shapes == [(4, 3, 8, 12), (4, 3, 8, 8), (4, 2, 8, 12)]
    assert buckets.counts == [12, 6, 2]  # as many a film in each
    assert len(buckets) == len(list(buckets.each_caption())) == 20
    assert buckets.captions_of([13, 12]) == LatentCache(written / "9x32x32").captions_of([1, 0])
    square = LatentCache(written / "9x32x32")
    assert set(square.captions) == {(films / f"{i}.txt").read_text() for i in (6, 7, 8)}
    assert torch.equal(buckets.latents([13, 12]), square.latents([1, 0]))
    every = ChannelSpectrum()
    for cache in buckets.caches:
        every.update(cache.latents(range(len(cache))))
    torch.testing.assert_close(buckets.statistics.covariance, every.result().covariance)


def test_two_processes_write_what_one_does(written, films, vae_folder, tmp_path):
    words = ["cache-latents", "--vae", vae_folder, "--data", films, "--clips", 20]
    words += ["--buckets", "9x32x48", "9x32x32", "5x32x48", "--out", tmp_path / "two"]
    said = launch(Path(SCRIPT), *words, "--device", "cpu")
    assert said.count("broken.mp4") == 1, "the main process alone looks at the films"
    one, two = LatentBuckets(written), LatentBuckets(tmp_path / "two")
    assert one.counts == two.counts
    for first, count in ((0, 12), (12, 6), (18, 2)):
        rows = range(first, first + count)
        torch.testing.assert_close(two.latents(rows), one.latents(rows))
    with pytest.raises(AssertionError, match="none"):
        launch(Path(SCRIPT), *words[:3], "--data", films / "none", *words[5:], "--device", "cpu")


def test_a_run_learns_all_sizes_and_goes_on_exactly(written, tmp_path):
    recipe = small_recipe(written, steps=8)
    train_diffusion(recipe, tmp_path / "whole", cpu())
    for steps in (3, 8):
        train_diffusion(replace(recipe, steps=steps), tmp_path / "parts", cpu())
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    pipeline, config = open_pipeline(tmp_path / "whole")
    assert (config.frames, config.height, config.width) == (9, 32, 48)
    for size in ((9, 32, 48), (5, 32, 48), (9, 32, 32)):
        assert generate(pipeline, ["a red disc"], size, steps=1).shape == (1, 3, *size)


def test_what_needs_one_size_says_so(written, vae_folder, tmp_path):
    with pytest.raises(ValueError, match="holds a cache for each size of clips: give one"):
        LatentCache(written)
    with pytest.raises(ValueError, match="holds a cache for each size of clips: give one"):
        open_latents(str(written))
    with pytest.raises(ValueError, match="is for one, so fit it to one of the caches"):
        LatentBuckets(written).fit(MapConfig(power=1.5))
    (problem,) = problems_of(small_recipe(written, repa=RepaConfig(teacher="encoder")))
    assert "clips of one size" in problem
    for data in ("world", str(vae_folder)):
        with pytest.raises(ValueError, match=r"films of several shapes|no videos"):
            sort_into_buckets(data, SIZES)
