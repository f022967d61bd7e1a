import json

import pytest

from commands import status_and_output


@pytest.mark.parametrize("more", [[], ["--extend"]])
def test_drift(more, tmp_path):
    words = [
        "evaluate",
        "drift",
        "tiny",
        "mine=tiny-baseline",
        "--videos",
        "world",
        "--clips",
        "2",
        "--frames",
        "5",
        "--size",
        "32",
        "32",
    ]
    files = "--out", "drift.json", "--figure", "drift.png", "--rounds", 3, "--device", "cpu"
    status, said = status_and_output(*words, *files, *more, folder=tmp_path)
    assert status == 0, said
    assert "2 clips of 5 frames of 32x32" in said
    found = json.loads((tmp_path / "drift.json").read_text())
    assert found["protocol"]["extend"] == bool(more)
    assert list(found["drift"]) == ["tiny", "mine"]
    psnr = found["drift"]["tiny"]["psnr"]
    assert len(psnr) == 3
    assert psnr[0] > psnr[2] > 15
    assert (tmp_path / "drift.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", 0], "rounds must be at least 1, got 0"),
        (["--frames", 6], "clips must suit every model: tiny takes 4n + 1 frames"),
        (["--figure", "drift.txt"], "a figure's name must end in"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(words, said, tmp_path):
    status, heard = status_and_output(
        "evaluate", "drift", "tiny", "--videos", "world", *words, folder=tmp_path
    )
    assert status == 2
    assert said in heard
