#!/usr/bin/env bash
# Builds the GPU's kernels, checks them, and measures them, on a machine that may have no network: it needs python3 with
# torch, numpy and cuda-python, nvcc, and a C++ compiler. Nothing is installed, and the source tree stays as it is.
#
#   bench/gpu_check.sh [FOLDER [COMMIT]]    results go to FOLDER (default: $OUT, or else gpu-results); about five minutes
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:-${OUT:-gpu-results}}" && cd "${1:-${OUT:-gpu-results}}" && pwd)
commit=${2:-$(git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)}
export PATH="$PATH:/usr/local/cuda/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== device =="
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"
architecture=$(python3 -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')

echo "== build, for sm_$architecture =="
tree="$work/tree/latentloop"
mkdir -p "$work/tree"
cp -r runtime "$tree"
cp -r kernels bench "$tree"
nearest="$tree/kernels/nearest_codebook"
nvcc -std=c++17 -O3 -arch="sm_$architecture" -Xptxas=-v -fatbin kernels/nearest_codebook/entries.cu \
  -o "$nearest/nearest_codebook.fatbin" 2>"$out/ptxas.txt"
# Of the operator library the search needs the plan alone.
c++ -std=c++17 -O2 -shared -fPIC kernels/nearest_codebook/plan.cpp -o "$tree/kernels/liblatentloop_operators.so"
export PYTHONPATH="$work/tree"
cd "$work"

echo "== small searches =="
python3 -m latentloop.bench.gpu_smoke

echo "== checks and times =="
python3 -m latentloop.bench.nearest_gpu --out "$out" --commit "$commit" 2>&1 | tee "$out/nearest.txt"

if command -v compute-sanitizer >/dev/null; then
  faults=0
  for tool in memcheck racecheck; do
    echo "== compute-sanitizer, $tool =="
    status=0
    timeout 100 compute-sanitizer --tool "$tool" --error-exitcode 3 python3 -m latentloop.bench.gpu_smoke \
      >"$out/$tool.txt" 2>&1 || status=$?
    tail -n 3 "$out/$tool.txt"
    case $status in
      0) ;;
      124) echo "$tool took more than 100 s: not finished" | tee -a "$out/$tool.txt" ;;
      *) faults=1 ;;
    esac
  done
  exit $faults
else
  echo "no compute-sanitizer: left out"
fi
