import io
import json
import logging
import os
import tarfile

import pytest

from made_videos import write
from ssvae.data.listing import find_media, find_videos, read_list
from ssvae.data.shards import Shards
from ssvae.data.sources import open_shelf


def listed(tmp_path, text, name="list.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return [item.caption for item in read_list(tmp_path / name)]


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("path,prompt\na.mp4,a red disc\n", ["a red disc"]),
        ("path, caption\na.mp4, a red disc\n", ["a red disc"]),
        ("path,caption\na.mp4,a disc, red, moving\n", ["a disc, red, moving"]),
        ("\ufeffpath,text\na.mp4,a red disc\n", ["a red disc"]),
        ("prompt,path,caption,text\nno,a.mp4,yes,no\n", ["yes"]),
        ("path,caption,text,prompt\na.mp4,,,last\n", ["last"]),
        ("file_name,text\na.mp4,of a hub\n", ["of a hub"]),
        ("path,caption\na.mp4\n", [""]),
        ("\n\npath,caption\na.mp4,after blank lines\n", ["after blank lines"]),
        ("path,caption\na.mp4,1,000 birds\n", ["1,000 birds"]),
    ],
)
def test_columns_of_a_csv(tmp_path, text, captions):
    assert listed(tmp_path, text) == captions


def test_values_behind_the_last_column_are_no_part_of_another(tmp_path):
    with pytest.raises(ValueError, match="line 2 has more values .* quote what holds commas"):
        listed(tmp_path, "caption,path\na disc, red,a.mp4\n")


def test_fields_of_a_jsonl(tmp_path):
    row = json.dumps({"video_path": "a.mp4", "prompt": "p", "text": "t"})
    assert listed(tmp_path, row + "\n", "list.jsonl") == ["t"]


def test_files_beside_a_film(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name in "abcd":
        write(tmp_path / f"{name}.mp4", 2)
    (tmp_path / "a.txt").write_text("\ufeffof a text\n", encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps({"prompt": "of a json"}))
    (tmp_path / "b.txt").write_text("not this")
    (tmp_path / "c.json").write_text("no json")
    expected = ["of a text", "of a json", "c", "d"]
    assert [item.caption for item in find_media(tmp_path)] == expected
    assert f"captions of {tmp_path}: 1 from .txt" in caplog.text
    # A list's own columns come first; what it leaves empty is found beside the film.
    listed_now = listed(tmp_path, "path,caption\na.mp4,mine\nb.mp4,\nd.mp4,\n")
    assert listed_now == ["mine", "of a json", ""]
    assert "1 of 3 are empty" in caplog.text


def test_a_folder_s_own_metadata(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.mp4", 2)
    (tmp_path / "metadata.csv").write_text("file_name,caption\nb.mp4,of the list\n")
    assert [item.caption for item in find_media(tmp_path)] == ["a", "of the list"]


def test_another_metadata_csv_is_left_alone(tmp_path):
    write(tmp_path / "a.mp4", 2)
    (tmp_path / "metadata.csv").write_text("name,size\nx,3\n")
    assert [item.caption for item in find_media(tmp_path)] == ["a"]


def test_names_that_are_no_text(tmp_path):
    film = write(tmp_path / "a.mp4", 2)
    os.rename(os.fsencode(film), os.path.join(os.fsencode(tmp_path), b"caf\xe9.mp4"))
    (caption,) = [item.caption for item in find_media(tmp_path)]
    assert caption.encode()  # which surrogates have not
    assert caption.startswith("caf")


def test_files_are_found_by_way_of_links_and_once(tmp_path):
    films, elsewhere = tmp_path / "films", tmp_path / "elsewhere"
    films.mkdir()
    elsewhere.mkdir()
    write(films / "a.mp4", 2)
    (films / "._a.mp4").write_bytes(b"about a.mp4")
    write(elsewhere / "b.mp4", 2)
    os.symlink(elsewhere, films / "linked")
    os.symlink(films, elsewhere / "back")
    os.symlink(films / "a.mp4", films / "c.mp4")
    names = [str(path.relative_to(films)) for path in find_videos(films)]
    assert names == ["a.mp4", "c.mp4", "linked/b.mp4"]


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def test_members_of_shards(tmp_path):
    film = write(tmp_path / "a.mp4", 2).read_bytes()
    members = {
        "clip.1080p.mp4": film,
        "clip.720p.mp4": film,
        "clip.720p.txt": "\ufeffthe smaller".encode(),
        "clip.json": json.dumps({"text": "of both"}).encode(),
        "x/000.video.mp4": film,
        "x/000.txt": b"of its key",
        "x/000.other.txt": b"a second one",
        "._x.mp4": b"about it",
        "1.mp4": film,
        "1.json": json.dumps({"caption": "first"}).encode(),
        "1.txt": b"not this",
        "2.mp4": film,
    }
    shards = Shards("t", [str(tar(tmp_path / "t.tar", members))], videos_only=True)
    found = {
        shards.item(0, i)[0].name.removeprefix(f"{tmp_path}/t.tar/"): shards.item(0, i)[1]
        for i in range(sum(shards.lengths))
    }
    assert found == {
        "clip.1080p.mp4": "of both",
        "clip.720p.mp4": "of both",  # .json comes before .txt
        "x/000.video.mp4": "of its key",
        "1.mp4": "first",
        "2.mp4": "",
    }


def test_empty_captions_of_shards_are_told(tmp_path, caplog):
    film = write(tmp_path / "a.mp4", 2).read_bytes()
    tar(tmp_path / "t.tar", {"1.mp4": film, "1.txt": b"one", "2.mp4": film})
    open_shelf(str(tmp_path / "t.tar"), 2)
    assert "1 of 2 are empty" in caplog.text
