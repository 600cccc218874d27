#!/usr/bin/env bash
# Compare masks alone, teacher and student on the CPU recipe with three seeds: what blending gains.
#
#   benchmarks/method.sh DATA OUT [options of wsshm train, such as --encoder-weights FILE]
#
# Writes OUT/seed*/… and OUT/seed*.json of wsshm eval, and prints their common result.
set -euo pipefail
data=$1 out=$2
shift 2
for seed in 0 1 2; do
    runs=$out/seed$seed
    train() { wsshm train "$1" --recipe cpu --data "$data" --runs "$runs" --seed "$seed" --resume "${@:2}"; }
    train teacher "$@"
    train student "$@"
    train student --labels masks --out "$runs/masks-mbv2" "$@"
    wsshm eval "$runs"/{masks,teacher,student}-mbv2/model.onnx --data "$data" \
        --set masks --set composites --json >"$out/seed$seed.json"
done
python "$(dirname "$0")/pool.py" "$out"/seed?.json
