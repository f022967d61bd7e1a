"""The command line through its real entry point, as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import write
from ssvae.data.video import probe

SSVAE = str(Path(sys.executable).with_name("ssvae"))
TINY = [
    "--batch-size",
    "2",
    "--model.z-dim",
    "4",
    "--model.base-channels",
    "8",
    "--clip.height",
    "16",
    "--clip.width",
    "16",
]


def ssvae(*words, status: int = 0) -> str:
    """Run a command; its output, standard error behind it."""
    done = subprocess.run(
        [SSVAE, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    assert "Traceback" not in output
    return output


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    output = ssvae("train", "tiny", "--out", out, "--steps", 3, *TINY, "--device", "cpu")
    assert "finished at step 3" in output
    return out


def test_version_help_and_recipes():
    assert ssvae("--version").startswith("ssvae 0.")
    assert all(name in ssvae("--help") for name in ("demo", "train", "reconstruct", "analyze"))
    assert "tiny-baseline" in ssvae("recipes")


def test_dry_run(tmp_path):
    output = ssvae("train", "tiny", "--out", tmp_path / "run", "--lcr.weight", 0.5, "--dry-run")
    assert '"weight": 0.5' in output
    assert "1.32 M parameters" in output
    assert not (tmp_path / "run").exists()


def test_train_reconstruct_analyze(run, tmp_path):
    source = write(tmp_path / "in.mp4", 20, 35, 50)
    output = ssvae("reconstruct", source, tmp_path / "out.mp4", "--model", run)
    assert "20 frames written" in output
    assert (probe(tmp_path / "out.mp4").frames, probe(tmp_path / "out.mp4").width) == (20, 50)

    last = run / "checkpoints" / "step-00000003"
    output = ssvae(
        *("analyze", run, last, "--videos", tmp_path, "--clips", 3, "--size", 16, 16),
        *("--json", tmp_path / "a.json", "--figure", tmp_path / "a.svg"),
    )
    assert "effective rank" in output
    assert "3 clips of 9 frames of 16x16" in output
    figures = json.loads((tmp_path / "a.json").read_text())
    assert list(figures) == ["run", "step-00000003"]
    assert figures["run"] == figures["step-00000003"]
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_a_killed_run_goes_on(tmp_path):
    command = [SSVAE, "train", "tiny", "--out", tmp_path / "run", "--steps", "100000"]
    command += [*TINY, "--checkpoint-every", "5"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for _ in range(600):
        if list((tmp_path / "run" / "checkpoints").glob("step-*")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reached = max(int(p.name[5:]) for p in (tmp_path / "run" / "checkpoints").glob("step-*"))
    changed = [*command[:5], "--steps", str(reached + 2), *TINY, "--checkpoint-every", "5"]
    assert "resumed from" in ssvae(*changed[1:])
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").open()]
    assert steps == list(range(1, reached + 3))


def test_demo(tmp_path):
    clip = write(tmp_path / "clip.mp4", 12, 48, 64)
    words = ("demo", "--out", tmp_path / "demo", "--steps", 2, "--videos", clip, "--device", "cpu")
    output = ssvae(*words)
    assert "low-frequency share" in output
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in output
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("data:video/mp4;base64") == 2
    assert "clip.mp4" in page
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert list(summary) == ["baseline", "LCR + LMR"]
    # Once more: nothing is trained again, and the figures are the same.
    ssvae(*words)
    assert json.loads((tmp_path / "demo" / "summary.json").read_text()) == summary


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reconstruct", "none.mp4", "out.mp4", "--model", "x"], "none.mp4: no such file"),
        (["analyze", "nowhere", "--videos", "world"], "no model at nowhere"),
        (["train", "tiny", "--out", "r", "--clip.frames", "8"], "4n + 1, got 8"),
        (["train", "tiny", "--out", "r", "--no-such-option", "8"], "no-such-option"),
        (["train", "tiny", "--out", "r", "--data", "nowhere"], "no file or folder nowhere"),
    ],
)
def test_errors_take_a_line_and_status_2(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in ssvae(*words, status=2)
    assert not Path("r/checkpoints").exists()
