"""The script that runs a command on several machines under SLURM."""

import re
import shlex
import sys
from typing import Annotated

import tyro

from ssvae.cli.commands import COMMANDS, GROUPS
from ssvae.cli.configs import meant

TIME = re.compile(r"(\d+-)?\d+(:\d\d){0,2}")
GRACE = 180  # seconds before its end in which a job may save
SAVING = 150  # of these, for the processes themselves
CPUS = 8  # of each GPU, where none are asked for


def slurm(
    command: tyro.conf.Positional[tuple[str, ...]],
    nodes: int = 1,
    gpus: int = 1,
    cpus: int | None = None,
    time: str = "24:00:00",
    name: str | None = None,
    sbatch: Annotated[tuple[str, ...], tyro.conf.arg(metavar="OPTION")] = (),
    offline: bool = False,
) -> None:
    """Print a SLURM script that runs any command on several machines, and queues itself again.

    When its time is over, or the job is preempted, a training run saves, and the job is queued
    again; other commands begin again, or go on with what they have written.

    Args:
        command: What to run, behind --, such as -- train small --data videos --out runs/small.
        nodes: Machines.
        gpus: GPUs of each machine, a process each; 0 for one process on its cores.
        cpus: Cores of each machine; 8 a GPU where not given.
        time: How long at most, as SLURM writes it.
        name: The job's name; that of the command where not given.
        sbatch: More options of sbatch, such as partition=gpu account=lab.
        offline: For machines without internet: neither the hub nor trackers are asked.
    """
    for what, number, least in (("nodes", nodes, 1), ("gpus", gpus, 0), ("cpus", cpus, 1)):
        if number is not None and number < least:
            raise ValueError(f"{what} must be at least {least}, got {number}")
    if not TIME.fullmatch(time):
        raise ValueError(f"time is written such as 24:00:00 or 2-12:00:00, got {time}")
    called = _called(command)
    options = {
        "job-name": name or f"ssvae-{called.replace(' ', '-')}",
        "nodes": nodes,
        "ntasks-per-node": 1,
        **({"gpus-per-node": gpus} if gpus else {}),
        "cpus-per-task": cpus or CPUS * max(gpus, 1),
        "time": time,
        "signal": f"B:TERM@{GRACE}",
    }
    asked = [f"{key}={value}" for key, value in options.items()]
    lines = [f"#SBATCH --{each}" for each in (*asked, "requeue", "open-mode=append", *sbatch)]
    quiet = "export HF_HUB_OFFLINE=1 WANDB_MODE=offline\n" if offline else ""
    sys.stdout.write(
        SCRIPT.format(
            options="\n".join(lines),
            quiet=quiet,
            cpus=options["cpus-per-task"],
            saving=SAVING,
            grace=GRACE,
            python=shlex.quote(sys.executable),
            processes=max(gpus, 1),
            command=shlex.join(command),
        )
    )


def _called(command: tuple[str, ...]) -> str:
    """The name of a command; a ValueError where there is none."""
    words = 2 if command and command[0] in GROUPS else 1
    called = " ".join(command[:words])
    if called not in COMMANDS or called == "slurm":
        known = [name for name in COMMANDS if name != "slurm"]
        raise ValueError(
            f"behind -- stands a command of ssvae{meant(called, known) if called else ':'} such "
            "as ssvae slurm --nodes 4 --gpus 8 -- train small --data videos --out runs/small"
        )
    return called


SCRIPT = """\
#!/usr/bin/env bash
{options}
set -euo pipefail

stopping=
stop() {{
    stopping=1
    kill -TERM "$run"
}}
trap stop TERM # sent {grace} s before the end, or by who preempts

{quiet}head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export SRUN_CPUS_PER_TASK={cpus} # srun takes it from here alone
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={saving} # seconds to finish a step and save
srun --kill-on-bad-exit=1 {python} -m torch.distributed.run \\
    --nnodes="$SLURM_NNODES" --nproc-per-node={processes} \\
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d \\
    --rdzv-endpoint="$head:${{RENDEZVOUS_PORT:-29500}}" \\
    -m ssvae {command} &
run=$!

status=0
wait "$run" || status=$?
if [ "$stopping" ]; then
    wait "$run" || true # the signal ended the first wait, not the run
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
"""
