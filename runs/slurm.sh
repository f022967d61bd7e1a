#!/usr/bin/env bash
# A recipe on several machines. When its time is over the run saves, and the job queues itself again.
#
#     sbatch runs/slurm.sh ssvae-256p --data '/data/{000000..000999}.tar' --out runs/256p
#
#SBATCH --job-name=ssvae
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

stopping=
stop() {
    stopping=1
    kill -TERM "$run"
}
trap stop TERM # sent 180 s before the end

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-8}" # srun takes it from here alone
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=150             # seconds to finish a step and save
srun --kill-on-bad-exit=1 torchrun \
    --nnodes="$SLURM_NNODES" --nproc-per-node="${SLURM_GPUS_PER_NODE:-8}" \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$head:29500" \
    -m ssvae train "$@" --dtype bfloat16 &
run=$!

status=0
wait "$run" || status=$?
if [ "$stopping" ]; then
    wait "$run" || true # the signal ended the first wait, not the run
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
