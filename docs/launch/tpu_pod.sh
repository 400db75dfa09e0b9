#!/bin/bash
# Trains on a TPU pod slice (a queued TPU VM), one process for each of its hosts:
#   TPU=my-v5e-64 ZONE=us-west4-a docs/launch/tpu_pod.sh \
#     --config=configs/stargan_v2/afhq.py --workdir=gs://bucket/runs/afhq \
#     --config.data.root=/mnt/data/afhq --config.batch_size=64
# Every host has this repository in ~/jaxgan with a .venv that holds jax[tpu].
set -euo pipefail
printf -v arguments ' %q' "$@"
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all \
  --command="cd jaxgan && .venv/bin/python train.py$arguments"
