"""``ssvae evaluate`` through its real entry point."""

import json
import threading

import pytest

from conftest import write
from evaluation.test_judge import Endpoint
from test_cli import OFFICIAL, ssvae


def test_reconstructions_of_a_model_and_of_files(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "made").mkdir()
    for i in range(3):
        write(tmp_path / "films" / f"{i}.mp4", 9 + i, 32, 48)
    (tmp_path / "films" / "broken.mp4").write_bytes(b"junk")
    size = ("--size", 32, 32, "--frames", 5)
    words = (
        "evaluate",
        "reconstruction",
        "--model",
        OFFICIAL,
        "--videos",
        tmp_path / "films",
        *size,
    )
    output = ssvae(*words, "--clips", 4, "--out", tmp_path / "raw.json")
    assert "broken.mp4: unreadable" in output
    assert "reconstruction of 3 clips of 5 frames, 32x32" in output
    assert "raw from the model" in output
    again = ssvae(*words, "--clips", 4, "--batch-size", 1, "--out", tmp_path / "again.json")
    assert "LPIPS was left out" in again
    compared = ssvae("evaluate", "compare", tmp_path / "raw.json", tmp_path / "again.json")
    assert "clip by clip: psnr" in compared

    (tmp_path / "films" / "broken.mp4").unlink()
    model = tmp_path / "model"
    ssvae("convert", OFFICIAL, model)
    for i in range(3):
        made = tmp_path / "made" / f"{i}.mkv"
        ssvae("reconstruct", tmp_path / "films" / f"{i}.mp4", made, "--model", model)
    folders = ("--originals", tmp_path / "films", "--reconstructions", tmp_path / "made")
    output = ssvae(
        *("evaluate", "reconstruction", *folders, *size, "--frames", 9, "--network", "probe"),
        *("--out", tmp_path / "files.json"),
    )
    assert "rfvd" in output
    assert "from files" in output
    assert "probe of the procedural world, 9 frames at equal distances" in output
    refused = ssvae("evaluate", "compare", tmp_path / "raw.json", tmp_path / "files.json", status=2)
    assert "different protocols" in refused


def test_generations_and_their_reward(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    lines = ["path,caption"]
    for i in range(3):
        write(films / f"{i}.mp4", 12, 32, 32)
        lines.append(f"{i}.mp4,a film about {i}")
    (films / "clips.csv").write_text("\n".join(lines) + "\n")
    given = ("--generated", films, "--real", "world", "--network", "probe", "--clips", 12)
    given += ("--size", 32, 32, "--frames", 9, "--out", tmp_path / "fd.json")
    output = ssvae("evaluate", "generation", *given)
    assert "generation of 3 clips of 9 frames, 32x32" in output
    assert "12 true clips" in output
    assert "3 clips for 64 features: the distance lies too high" in output
    assert json.loads((tmp_path / "fd.json").read_text())["figures"]["frechet"]["low"] is not None

    endpoint = Endpoint()
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    words = ("evaluate", "reward", "--endpoint", endpoint.url, "--judge", "m")
    asked = (*words, "--videos", films / "clips.csv", "--out", tmp_path / "reward.json")
    output = ssvae(*asked, "--per-minute", 6000)
    assert "text-to-video alignment" in output
    assert "reward of 3 clips of 16 frames" in output
    assert len(endpoint.asked) == 3
    assert "3 answers are there already" in ssvae(*asked)
    assert len(endpoint.asked) == 3
    assert json.loads((tmp_path / "reward.json").read_text())["figures"]["reward"][
        "value"
    ] == pytest.approx(2.6)
    output = ssvae(*words, "--videos", films, "--out", tmp_path / "r.json", status=2)
    assert "0.mp4 has no prompt" in output
    endpoint.shutdown()
