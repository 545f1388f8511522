#!/usr/bin/env bash
# Everything worth measuring on one GPU, in under 9 minutes: figures go to $1 (default benchmarks/results).
#
#     bash benchmarks/gpu.sh [FOLDER] [PREPARED_DATA]
#
# Needs jax with its GPU and PyTorch with its own, beside the project's packages.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-benchmarks/results}
DATA=${2:-}
mkdir -p "$OUT"
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # PyTorch shares the GPU
run() {
    local name=$1 limit=$2
    shift 2
    echo "== $name"
    timeout "$limit" python "$@" --json "$OUT/$name.json" 2>&1 | tail -n 20 || echo "$name: failed or too slow"
}
run train_step_gpu 110 benchmarks/train_step.py --dtype bfloat16 --batch 256
run train_step_gpu_batch32 80 benchmarks/train_step.py --dtype bfloat16
run train_step_cycle_gpu 100 benchmarks/train_step.py --case xgan_cycle --dtype bfloat16 --batch 256
run cyclegan_gpu 150 benchmarks/train_step.py --case cyclegan --dtype bfloat16 --batch 8
run conv_layers_gpu 45 benchmarks/conv_layers.py --batch 256
run end_to_end_gpu 50 benchmarks/end_to_end.py ${DATA:+--data "$DATA"} --batch 256 --dtype bfloat16 \
    --cache device --steps-per-call 8 --steps 1600 --log-every 160
