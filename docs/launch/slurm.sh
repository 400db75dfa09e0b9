#!/bin/bash
# Trains on all GPUs of a Slurm job, one process for each:
#   sbatch --nodes=2 docs/launch/slurm.sh \
#     --config=configs/stargan_v2/afhq.py --workdir=/shared/runs/afhq \
#     --config.data.root=/shared/data/afhq --config.batch_size=16
# The work directory and the data must be seen by all nodes. 120 s before the
# time is up a checkpoint is saved; the same command goes on from there.
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# One that fails ends the others; Slurm is not to wait for them.
exec srun --kill-on-bad-exit=1 .venv/bin/python train.py "$@"
