"""``ssvae evaluate`` through its entry point."""

import json
import threading
from pathlib import Path

import pytest

from commands import status_and_output
from evaluation.test_judge import Endpoint
from made_videos import write
from test_cli import OFFICIAL


def each_of(commands, folder: Path) -> list[tuple[int, str]]:
    """Status and output of each command, one after the other."""
    return [status_and_output(*words, folder=folder) for words in commands]


def test_reconstructions_of_a_model_and_of_files(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "made").mkdir()
    for i in range(3):
        write(tmp_path / "films" / f"{i}.mp4", 9 + i, 32, 48)
    write(tmp_path / "films" / "short.mp4", 2, 32, 48)
    size = ("--size", 32, 32, "--frames", 5)
    words = ("evaluate", "reconstruction", "--model", OFFICIAL, "--videos", "films", *size)
    folders = ("--originals", "films", "--reconstructions", "made")
    first, again, compared, _, *_, files, refused = each_of(
        [
            (*words, "--clips", 4, "--out", "raw.json"),
            (*words, "--clips", 4, "--batch-size", 1, "--out", "again.json"),
            ("evaluate", "compare", "raw.json", "again.json"),
            ("convert", OFFICIAL, "model"),
            *(
                ("reconstruct", f"films/{name}.mp4", f"made/{name}.mkv", "--model", "model")
                for name in (0, 1, 2, "short")
            ),
            (
                *("evaluate", "reconstruction", *folders, *size, "--frames", 9),
                *("--network", "probe", "--out", "files.json"),
            ),
            ("evaluate", "compare", "raw.json", "files.json"),
        ],
        tmp_path,
    )
    assert [status for status, _ in (first, again, compared, files, refused)] == [0, 0, 0, 0, 2]
    assert "short.mp4: too short" in first[1]
    assert "reconstruction of 3 clips of 5 frames, 32x32" in first[1]
    assert "raw from the model" in first[1]
    assert "LPIPS was left out" in again[1]
    assert "clip by clip: psnr" in compared[1]
    assert "rfvd" in files[1]
    assert "from files" in files[1]
    assert "left out: short" in files[1]
    assert "probe of the procedural world, 9 frames at equal distances" in files[1]
    assert "clips of 3 files for 64 features: the distance lies too high" in files[1]
    assert "different protocols" in refused[1]


def test_generations_and_their_reward(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    lines = ["path,caption"]
    for i in range(3):
        write(films / f"{i}.mp4", 12, 32, 32)
        lines.append(f"{i}.mp4,a film about {i}")
    (films / "clips.csv").write_text("\n".join(lines) + "\n")
    endpoint = Endpoint()
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    given = ("--generated", "films", "--real", "world", "--network", "probe", "--clips", 12)
    words = ("evaluate", "judge", "--endpoint", endpoint.url, "--judge", "m")
    asked = (*words, "--videos", "films/clips.csv", "--out", "reward.json", "--per-minute", 6000)
    made, first, again, without = each_of(
        [
            ("evaluate", "generation", *given, "--size", 32, 32, "--frames", 9, "--out", "fd.json"),
            asked,
            asked,
            (*words, "--videos", "films", "--out", "r.json"),
        ],
        tmp_path,
    )
    endpoint.shutdown()
    assert [status for status, _ in (made, first, again, without)] == [0, 0, 0, 2]
    assert "generation of 3 clips of 9 frames, 32x32" in made[1]
    assert "12 true clips" in made[1]
    assert "clips of 3 files for 64 features: the distance lies too high" in made[1]
    assert json.loads((tmp_path / "fd.json").read_text())["figures"]["frechet"]["low"] is not None
    assert "text-to-video alignment" in first[1]
    assert "mark of 3 clips of 16 frames" in first[1]
    assert len(endpoint.asked) == 3
    assert "3 answers are there already" in again[1]
    reward = json.loads((tmp_path / "reward.json").read_text())["figures"]["mark"]
    assert reward["value"] == pytest.approx(2.6)
    assert "0.mp4 has no prompt" in without[1]
