#!/usr/bin/env bash
# Everything worth measuring on one GPU, in under 9 minutes: figures go to $1 (default benchmarks/results).
#
#     bash benchmarks/gpu.sh [FOLDER] [PREPARED_DATA]
#
# Needs jax with its GPU and PyTorch with its own, beside the project's packages. To try it anywhere:
#
#     PATIENCE=9 BATCH=4 STEPS=4 CYCLEGAN="--size 64 --blocks 2 --batch 1" bash benchmarks/gpu.sh /tmp/figures
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-benchmarks/results}
DATA=${2:-}
BATCH=${BATCH:-256}
STEPS=${STEPS:-50}
PATIENCE=${PATIENCE:-1}  # times the seconds that each may take
CYCLEGAN=${CYCLEGAN:---batch 8}
mkdir -p "$OUT"
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # PyTorch shares the GPU
run() {
    local name=$1 limit=$2
    shift 2
    echo "== $name"
    timeout $((limit * PATIENCE)) python "$@" --json "$OUT/$name.json" 2>&1 | tail -n 20 || echo "$name: failed or too slow"
}
run train_step_gpu 110 benchmarks/train_step.py --dtype bfloat16 --batch "$BATCH" --steps "$STEPS"
run train_step_gpu_batch32 80 benchmarks/train_step.py --dtype bfloat16 --batch $((BATCH > 8 ? BATCH / 8 : BATCH)) --steps "$STEPS"
run train_step_cycle_gpu 100 benchmarks/train_step.py --case xgan_cycle --dtype bfloat16 --batch "$BATCH" \
    --steps "$STEPS"
# shellcheck disable=SC2086  # several words
run cyclegan_gpu 150 benchmarks/train_step.py --case cyclegan --dtype bfloat16 --steps "$STEPS" $CYCLEGAN
run conv_layers_gpu 45 benchmarks/conv_layers.py --batch "$BATCH"
run end_to_end_gpu 50 benchmarks/end_to_end.py ${DATA:+--data "$DATA"} --batch "$BATCH" --dtype bfloat16 \
    --cache device --steps-per-call 8 --steps $((32 * STEPS)) --log-every $((8 * (STEPS / 4 + 1)))
