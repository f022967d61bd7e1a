"""What happens on a cluster: signals, kills, full disks."""

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import status_of_code
from small_runs import cpu, rows, small
from ssvae.models.finding import find_vae, load_vae
from ssvae.storage.runs import checkpoints
from ssvae.training import InterruptedRun
from ssvae.vae import GANConfig, train_autoencoder

SSVAE = str(Path(sys.executable).with_name("ssvae"))
OPTIONS = [
    *("--batch-size", "2", "--model.z-dim", "4", "--model.base-channels", "8"),
    *("--clip.height", "16", "--clip.width", "16", "--device", "cpu", "--tracker", "none"),
]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(tmp_path, number):
    def at_3(step, metrics):
        if step == 3:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(InterruptedRun, match=f"{number.name} after step 3; the same command"):
        train_autoencoder(small(checkpoint_every=100), tmp_path / "run", cpu(), at_3)
    assert signal.getsignal(number) is before
    assert [s for s, _ in checkpoints(tmp_path / "run")] == [3]
    train_autoencoder(small(checkpoint_every=100), tmp_path / "run", cpu())
    train_autoencoder(small(checkpoint_every=100), tmp_path / "whole", cpu())
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_kill_during_a_save_leaves_the_older_checkpoint(tmp_path):
    """The process dies while the second checkpoint is half written."""
    script = f"""
import os
from small_runs import cpu, small
from ssvae.vae import train_autoencoder
from ssvae.vae.trainer import VAETrainer
save = VAETrainer.save
def half(self, folder, state):
    if folder.name.endswith("-00000004"):
        (folder / "vae").mkdir()
        (folder / "vae" / "config.json").write_text("{{")
        os._exit(9)
    save(self, folder, state)
VAETrainer.save = half
train_autoencoder(small(), {str(tmp_path / "run")!r}, cpu())
"""
    status, said = status_of_code(script, tmp_path)
    assert status == 9, said
    assert [s for s, _ in checkpoints(tmp_path / "run")] == [2]
    load_vae(tmp_path / "run")
    train_autoencoder(small(), tmp_path / "run", cpu())
    train_autoencoder(small(), tmp_path / "whole", cpu())
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert not list((tmp_path / "run" / "checkpoints").glob(".partial*"))


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    """Files may grow to 50 kB alone: the weights do not fit."""
    train_autoencoder(small(steps=2, decay_steps=4), tmp_path / "run", cpu())
    limited = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.argv = {[SSVAE, "train", "tiny", "--out", str(tmp_path / "run"), "--steps", "4"]!r} + {OPTIONS!r}
sys.argv += ["--checkpoint-every", "2", "--warmup-steps", "2", "--decay-steps", "4"]
from ssvae.cli import main
main()
"""
    status, told = status_of_code(limited, tmp_path)
    assert status == 2, told
    said = " ".join(told.split())
    assert "the checkpoint of step 4 could not be written" in said
    assert "goes on from step 2, which is whole" in said
    assert [s for s, _ in checkpoints(tmp_path / "run")] == [2]
    assert not list((tmp_path / "run" / "checkpoints").glob(".partial*"))
    train_autoencoder(small(steps=4, decay_steps=4), tmp_path / "run", cpu())
    train_autoencoder(small(steps=4), tmp_path / "whole", cpu())
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


@pytest.mark.parametrize("file", ["optimizers.pt", "vae/diffusion_pytorch_model.safetensors"])
def test_a_damaged_checkpoint_leaves_the_one_before(file, tmp_path, caplog):
    """A bit that turned, and the run goes on from where it is sure; nothing else may be shown
    then.
    """
    run = tmp_path / "run"
    train_autoencoder(small(decay_steps=8), run, cpu())
    whole = rows(run)
    newest = run / "checkpoints" / "step-00000006"
    content = bytearray((newest / file).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / file).write_bytes(content)
    with caplog.at_level("INFO"):
        train_autoencoder(small(steps=8, decay_steps=8), run, cpu())
    assert f"the checkpoint {newest} is damaged ({file}): the one before it is taken" in caplog.text
    assert f"resumed from {run / 'checkpoints' / 'step-00000004'}" in caplog.text
    assert rows(run)[:6] == whole
    assert len(rows(run)) == 8


def test_a_run_of_damaged_checkpoints_is_told(tmp_path):
    train_autoencoder(small(steps=4), tmp_path / "run", cpu())
    for _, folder in checkpoints(tmp_path / "run"):
        (folder / "optimizers.pt").unlink()
    assert find_vae(tmp_path / "run").parent.name == "step-00000004"  # which is whole
    with pytest.raises(ValueError, match="every checkpoint of .*run is damaged: put back a copy"):
        train_autoencoder(small(steps=6), tmp_path / "run", cpu())


def test_a_checkpoint_that_does_not_load_is_named(tmp_path):
    train_autoencoder(small(), tmp_path / "run", cpu())
    newest = tmp_path / "run/checkpoints/step-00000006"
    (newest / "optimizers.pt").write_bytes(b"junk")
    (newest / "sha256.json").unlink()  # as earlier versions wrote it
    with pytest.raises(ValueError, match=r"step-00000006 does not load .* from the one before"):
        train_autoencoder(small(steps=8), tmp_path / "run", cpu())
    shutil.rmtree(newest)
    train_autoencoder(small(steps=8), tmp_path / "run", cpu())


def test_a_run_of_an_older_version_goes_on(tmp_path):
    """Its config knows nothing of newer settings, groups of them among these."""
    train_autoencoder(small(steps=2), tmp_path / "run", cpu())
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    for newer in ("gan", "images", "validation", "accumulate", "learned_variance", "workers"):
        del config[newer]
    path.write_text(json.dumps(config))
    train_autoencoder(small(steps=4, workers=7), tmp_path / "run", cpu())
    with pytest.raises(ValueError, match=r"gan.start was None and is 3"):
        train_autoencoder(
            small(steps=6, gan=GANConfig(start=3, halvings=2)), tmp_path / "run", cpu()
        )


def test_a_damaged_line_of_the_metrics_takes_no_other_with_it(tmp_path, caplog):
    run = tmp_path / "run"
    train_autoencoder(small(steps=4, decay_steps=6), run, cpu())
    metrics = run / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    damaged = b'{"step": 2, "l1\xff\n'
    late = b'{"step": 5, "l1": 0.1}\n'
    metrics.write_bytes(b"".join([lines[0], damaged, b"[]\n", *lines[2:], late, b'{"step": 6, "l']))
    train_autoencoder(small(steps=6, decay_steps=6), run, cpu())
    kept = metrics.read_bytes().splitlines(keepends=True)
    assert kept[:5] == [lines[0], damaged, b"[]\n", *lines[2:]]
    assert [json.loads(line)["step"] for line in kept[5:]] == [5, 6]
    assert "line 2 does not read" in caplog.text
    assert "line 3 does not read" in caplog.text


def test_what_a_signal_says_survives_pickling():
    again = pickle.loads(pickle.dumps(InterruptedRun(15, 7)))
    assert str(again) == str(InterruptedRun(15, 7))
    assert "SIGTERM after step 7" in str(again)


@pytest.mark.slow
def test_twenty_kills_in_a_row_change_nothing(tmp_path):
    """SIGKILL at random moments, the same command again: exactly the unbroken run's losses."""
    steps = 1200
    command = [SSVAE, "train", "tiny", "--steps", str(steps), "--checkpoint-every", "20"]
    whole = [*command, "--out", str(tmp_path / "whole"), *OPTIONS]
    assert subprocess.run(whole, capture_output=True).returncode == 0
    run, random_times = tmp_path / "run", random.Random(0)
    for kill in range(20):
        process = subprocess.Popen(
            [*command, "--out", str(run), *OPTIONS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        metrics, began = run / "metrics.jsonl", time.monotonic()
        known = metrics.stat().st_size if metrics.exists() else 0
        # Start-up aside, so that most kills meet training, some a save.
        while process.poll() is None and time.monotonic() - began < 60:
            size = metrics.stat().st_size if metrics.exists() else 0
            if size > known and random_times.random() < 0.05:
                break
            time.sleep(random_times.uniform(0.005, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(rows_so_far(run)) < steps, f"kill {kill} came after the end"
    assert subprocess.run([*command, "--out", str(run), *OPTIONS]).returncode == 0
    assert rows(run) == rows(tmp_path / "whole")


def rows_so_far(run: Path) -> list[str]:
    return (run / "metrics.jsonl").read_text().splitlines()
