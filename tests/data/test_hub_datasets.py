"""Data sets of the library datasets: films in a column, however they were stored."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset, Image, Video

from commands import status_and_output
from made_videos import images, write
from ssvae.data.hub_datasets import HubDataset
from ssvae.data.sources import open_fixed, open_source

SIZE = 5, 16, 24


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    paths = [folder / f"{i}.mp4" for i in range(4)]
    for i, path in enumerate(paths):
        write(path, 6 + i, 32, 48)
    return paths


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
        yield


def parquet(folder: Path, columns: dict, split: str = "train") -> str:
    folder.mkdir(exist_ok=True)
    Dataset.from_dict(columns).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return f"datasets:{folder}"


@pytest.fixture(scope="module")
def stored(films, tmp_path_factory) -> dict[str, str]:
    """The same films with captions, in four forms."""
    folder = tmp_path_factory.mktemp("stored")
    contents, captions = [path.read_bytes() for path in films], [f"film {i}" for i in range(4)]
    whole = [{"bytes": b, "path": p.name} for b, p in zip(contents, films, strict=True)]
    features = Dataset.from_dict({"movie": whole}).cast_column("movie", Video(decode=False))
    named = features.add_column("text", captions)
    (folder / "typed").mkdir()
    named.to_parquet(folder / "typed" / "train-00000-of-00001.parquet")
    (folder / "folder").mkdir()
    for i, content in enumerate(contents):
        (folder / "folder" / f"{i}.mp4").write_bytes(content)
    rows = "".join(f"{i}.mp4,{caption}\n" for i, caption in enumerate(captions))
    (folder / "folder" / "metadata.csv").write_text("file_name,caption\n" + rows)
    paths = {"video_path": list(map(str, films)), "prompt": captions}
    return {
        "typed": f"datasets:{folder / 'typed'}",
        "folder": f"datasets:{folder / 'folder'}",
        "bytes": parquet(folder / "bytes", {"mp4": contents, "txt": captions}),
        "paths": parquet(folder / "paths", paths),
    }


@pytest.mark.parametrize("form", ["typed", "folder", "bytes", "paths"])
def test_films_in_a_column_are_those_in_a_folder(form, stored, films):
    fixed, there = (open_fixed(name, 4, *SIZE) for name in (stored[form], str(films[0].parent)))
    (own,), (expected,) = (list(clips.batches(4)) for clips in (fixed, there))
    assert torch.equal(own.video, expected.video)
    assert list(own.captions) == [f"film {i}" for i in range(4)]
    assert len(set(own.names)) == 4
    source = open_source(stored[form], *SIZE, seed=3)
    drawn = source.batch(range(8))
    assert sorted(drawn.captions[:4]) == list(own.captions), "every film once an epoch"
    again = open_source(stored[form], *SIZE, seed=3).batch(range(8))
    assert torch.equal(drawn.video, again.video)


def test_a_checksum_tells_films_and_captions(stored, films, tmp_path):
    contents = [path.read_bytes() for path in films]

    def checksum(name: str, **columns) -> str:
        return HubDataset(parquet(tmp_path / name, columns), True).checksum()

    one = checksum("one", video=contents, caption=list("abcd"))
    assert checksum("same", video=contents, caption=list("abcd")) == one
    assert checksum("said", video=contents, caption=list("abce")) != one
    assert checksum("other", video=contents[::-1], caption=list("abcd")) != one
    assert HubDataset(stored["typed"], True).checksum() != one


def test_splits_and_what_is_broken(films, tmp_path):
    contents = [path.read_bytes() for path in films]
    parquet(tmp_path / "two", {"video": contents[:3]}, "train")
    name = parquet(tmp_path / "two", {"video": [contents[3], b"junk", None]}, "test")
    assert len(HubDataset(name, True).lengths) == 3
    fixed = open_fixed(f"{name}:test", 3, *SIZE)
    (batch,) = fixed.batches(3)
    assert len(batch.captions) == 1
    assert len(fixed.broken) == 2
    assert all("row" in broken for broken in fixed.broken)


def test_pictures_are_for_single_frames(tmp_path):
    pictures = Dataset.from_dict({"image": [i.astype("uint8") for i in images(3, 24, 24)]})
    (tmp_path / "p").mkdir()
    pictures = pictures.cast_column("image", Image())
    pictures.to_parquet(tmp_path / "p" / "train-00000-of-00001.parquet")
    name = f"datasets:{tmp_path / 'p'}"
    (batch,) = open_fixed(name, 3, 1, 16, 16).batches(3)
    assert batch.video.shape == (3, 3, 1, 16, 16)
    with pytest.raises(ValueError, match=r"has no column of films: it has image"):
        open_fixed(name, 3, *SIZE)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("datasets:a/b/c/d", "is named datasets:OWNER/NAME"),
        ("datasets:", "is named datasets:OWNER/NAME"),
        ("datasets:HERE:nope", 'Unknown split "nope"'),
    ],
)
def test_what_is_not_there_is_told(name, problem, films, tmp_path):
    parquet(tmp_path / "d", {"video": [films[0].read_bytes()]})
    with pytest.raises(ValueError, match=problem):
        open_source(name.replace("HERE", str(tmp_path / "d")), *SIZE)


def test_a_hub_that_does_not_answer_is_not_asked_again(monkeypatch):
    monkeypatch.setattr("ssvae.data.hub_datasets.silence", lambda: "no network")
    for place in ("datasets.config", "huggingface_hub.constants"):
        monkeypatch.setattr(f"{place}.HF_HUB_OFFLINE", False)  # which is set back behind this
    with pytest.raises(ValueError, match=r"datasets:no/such does not load: .*\(no network\)"):
        open_source("datasets:no/such", *SIZE)


def test_a_command_takes_one(stored, vae_folder, tmp_path):
    words = ["cache-latents", "--vae", vae_folder, "--data", stored["typed"], "--clips", 8]
    words += ["--frames", 5, "--size", 16, 16, "--out", tmp_path / "latents"]
    status, said = status_and_output(*words, folder=tmp_path)
    assert status == 0, said
    assert "4 from the column text" in said
