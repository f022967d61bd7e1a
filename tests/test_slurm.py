"""The SLURM script: printed, and run with stand-ins for the cluster's own commands."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from commands import TINY, status_and_output

STAND_INS = {
    "scontrol": 'case $1 in show) echo 127.0.0.1 ;; requeue) echo "$2" >> requeued ;; esac',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
}
RUN = ["train", "tiny", *TINY, "--warmup-steps", 1, "--device", "cpu", "--tracker", "none"]


def printed(folder: Path, *words) -> str:
    status, said = status_and_output("slurm", *words, folder=folder)
    assert status == 0, said
    return said


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """The environment of a job, with a port that is free."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, lines in STAND_INS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{lines}\n")
        (programs / name).chmod(0o755)
    slurm = dict(SLURM_JOB_ID="7", SLURM_NNODES="1", SLURM_JOB_NODELIST="here")
    port = str(20000 + os.getpid() % 10000)
    path = f"{programs}:{os.environ['PATH']}"
    return {**os.environ, **slurm, "RENDEZVOUS_PORT": port, "PATH": path}


def test_a_job_that_is_preempted_saves_and_goes_on(cluster, tmp_path):
    words = ["--gpus", 2, "--", *RUN, "--steps", 400, "--checkpoint-every", 400, "--out", "run"]
    script = tmp_path / "job.sh"
    script.write_text(printed(tmp_path, *words))
    metrics = tmp_path / "run" / "metrics.jsonl"
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen(
            ["bash", script], cwd=tmp_path, env=cluster, stdout=log, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + 240
    while not (metrics.exists() and metrics.read_text().strip()):
        assert job.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert job.wait(240) == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "requeued").read_text() == "7\n"
    (saved,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    step = int(saved.name.removeprefix("step-"))
    assert 0 < step < 400
    # Again, as SLURM would: to an end that is near.
    words = [*words[:-5], step + 1, *words[-4:]]
    script.write_text(printed(tmp_path, *words))
    done = subprocess.run(
        ["bash", script], cwd=tmp_path, env=cluster, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"step-{step + 1:08d}" in done.stdout
    assert (tmp_path / "requeued").read_text() == "7\n"


def test_what_is_asked_for_stands_in_it(tmp_path):
    asked = ["--nodes", 4, "--gpus", 8, "--time", "2-00:00:00", "--sbatch", "partition=gpu"]
    command = ["train", "small", "--data", "a folder", "--config", "x.toml", "--help"]
    said = printed(tmp_path, *asked, "--offline", "--", *command)
    for line in (
        "#SBATCH --nodes=4",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --cpus-per-task=64",
        "#SBATCH --time=2-00:00:00",
        "#SBATCH --partition=gpu",
        "#SBATCH --job-name=ssvae-train",
        "export HF_HUB_OFFLINE=1 WANDB_MODE=offline",
    ):
        assert line in said.splitlines()
    assert "-m ssvae train small --data 'a folder' --config x.toml --help &" in said
    alone = printed(tmp_path, "--gpus", 0, "--", "evaluate", "reconstruction")
    assert "gpus-per-node" not in alone
    assert "--nproc-per-node=1" in alone


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--", "trian", "small"], "did you mean train?"),
        ([], "behind -- stands a command"),
        (["--", "slurm"], "behind -- stands a command"),
        (["--nodes", 0, "--", "models"], "nodes must be at least 1, got 0"),
        (["--time", "soon", "--", "models"], "got soon"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, words, reason):
    status, said = status_and_output("slurm", *words, folder=tmp_path)
    assert status == 2
    assert reason in " ".join(said.split())
