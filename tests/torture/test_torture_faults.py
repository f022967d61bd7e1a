"""Kills and stops at random moments, two of everything at once, disks that are full or closed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from chamber import MODEL, command

from commands import CONTEXT, TINY, _run
from made_videos import write
from ssvae.data.video import read_frames

pytestmark = [pytest.mark.slow, pytest.mark.torture]
SMALL = (
    *TINY,
    *["--warmup-steps", "1", "--checkpoint-every", "3", "--device", "cpu", "--tracker", "none"],
)
WORKS = {
    "train": (("train", "tiny", "--steps", "40", "--out", "run", *SMALL), "run/metrics.jsonl"),
    "train-diffusion": (
        (
            *("train-diffusion", "dit-tiny", "--latents", "cache", "--out", "dit", "--steps", "30"),
            *("--warmup-steps", "1", "--batch-size", "4", "--model.layers", "1"),
            *("--checkpoint-every", "5", "--device", "cpu"),
        ),
        "dit/metrics.jsonl",
    ),
    "cache-latents": (
        (
            *("cache-latents", "--vae", MODEL, "--clips", "96", "--shard-clips", "8"),
            *("--data", "world", "--out", "new", "--device", "cpu"),
        ),
        "new/index.json",
    ),
    "shards": (("shards", "world", "tars", "--clips", "24", "--per-shard", "4"), "tars/000005.tar"),
    "encode": (("encode", "film.mkv", "z.safetensors", "--model", MODEL), "z.safetensors"),
    "reconstruct": (("reconstruct", "film.mkv", "out.mkv", "--model", MODEL), "out.mkv"),
}


def content(path: Path) -> Any:
    """What a file holds; of a film its times and frames, for Matroska draws an identity for each
    file.
    """
    if path.suffix == ".mkv":
        return [(frame.time, frame.image.tobytes()) for frame in read_frames(path)]
    return path.read_bytes()


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A folder in which each work can begin, and what each gives unbroken."""
    folder = tmp_path_factory.mktemp("begin")
    write(folder / "film.mkv", 60, 96, 96)
    words = "cache-latents", "--vae", MODEL, "--data", "world", "--clips", 16, "--out", "cache"
    cached = command(*words, folder=folder)
    assert cached.held(), cached.said
    ends: dict[str, Any] = {}
    other = tmp_path_factory.mktemp("unbroken") / "work"
    subprocess.run(["cp", "-r", folder, other], check=True)
    for name, (words, result) in WORKS.items():
        done = command(*words, folder=other)
        assert done.status == 0, done.said
        ends[name] = content(other / result)
    return folder, ends


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize("name", WORKS)
def test_signals_at_random_moments(name, number, seed, whole, tmp_path):
    """The same command again ends as if nothing had been; nothing half written has a final name."""
    begin, ends = whole
    folder, draw = tmp_path / "work", random.Random(f"{name} {number} {seed}")
    subprocess.run(["cp", "-r", begin, folder], check=True)
    words, result = WORKS[name]
    said = tmp_path / "said"
    process = CONTEXT.Process(target=_run, args=(list(words), str(said), str(folder)))
    process.start()
    process.join(draw.uniform(0.05, 4.0))
    if process.exitcode is None:
        os.kill(process.pid, number)
        if number == signal.SIGSTOP:
            time.sleep(0.5)
            os.kill(process.pid, signal.SIGCONT)
        process.join(60)
        assert process.exitcode is not None, "it hangs after the signal"
    assert "Traceback" not in said.read_text(), said.read_text()
    if (folder / result).exists() and not result.endswith(".jsonl"):
        assert content(folder / result) == ends[name]
    again = command(*words, folder=folder)
    assert again.status == 0, again.said
    assert content(folder / result) == ends[name]
    assert not list(folder.rglob(".partial-*"))


@pytest.mark.parametrize("name", WORKS)
def test_two_at_once(name, whole, tmp_path):
    """One of them does it, or both; neither harms the other."""
    begin, ends = whole
    folder = tmp_path / "work"
    subprocess.run(["cp", "-r", begin, folder], check=True)
    words, result = WORKS[name]
    both = [
        CONTEXT.Process(target=_run, args=(list(words), str(tmp_path / f"said-{i}"), str(folder)))
        for i in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(90)
    said = [(tmp_path / f"said-{i}").read_text() for i in range(2)]
    assert sorted(p.exitcode for p in both) in ([0, 0], [0, 2]), said
    assert not any("Traceback" in text for text in said), said
    assert content(folder / result) == ends[name]


@pytest.mark.parametrize("size", [64, 256, 1024])
@pytest.mark.parametrize("name", WORKS)
def test_full_disks(name, size, whole, tmp_path):
    """So many KiB are left: a sentence that says so, and nothing half written under a final
    name.
    """
    begin, ends = whole
    folder = tmp_path / "work"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small file system may be mounted here")
    try:
        for item in begin.iterdir():
            (folder / item.name).symlink_to(item)
        words, result = WORKS[name]
        done = command(*words, folder=folder)
        assert "Traceback" not in done.said, done.said
        assert done.status in (0, 2), done.said
        if done.status == 2:
            assert "error: " in done.said
            assert not list(folder.rglob(".partial-*"))
        elif not result.endswith(".jsonl"):
            assert content(folder / result) == ends[name]
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() == 0, reason="root may write everywhere"
)
@pytest.mark.parametrize("name", WORKS)
def test_folders_without_permission(name, whole, tmp_path):
    begin, _ = whole
    folder = tmp_path / "work"
    subprocess.run(["cp", "-r", begin, folder], check=True)
    folder.chmod(0o555)
    try:
        words, _ = WORKS[name]
        assert command(*words, folder=folder).refused("cannot write")
    finally:
        folder.chmod(0o755)
