#!/usr/bin/env bash
# Checks and times sampling and the kernels on a GPU, in less than nine minutes. Needs no network, installs nothing, and
# does not change the source tree. Requirements:
#   python3 with torch, numpy and cuda-python
#   nvcc and a C++ compiler, for the kernels
#   optional: onnx, to run the GPU backend's host code with PyTorch; onnx and safetensors, to export a larger bundle;
#   onnxruntime-gpu or TensorRT, for the backends. Without them, findings of kind "missing" say what did not run.
#
#   bench/gpu_check.sh [FOLDER [COMMIT]]    writes results to FOLDER (default: $OUT if set, otherwise gpu-results)
#
# A failure is reported, and the other parts still run. The status is 0 if all checks passed and a GPU backend ran.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
out=$(mkdir -p "${1:-${OUT:-gpu-results}}" && cd "${1:-${OUT:-gpu-results}}" && pwd) || exit 1
commit=${2:-$(git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)}
export PATH="$PATH:/usr/local/cuda/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# left MOST: prints the seconds for the next step: what remains of the total, at least 5, at most MOST
left() {
  local seconds=$((530 - SECONDS))
  echo $((seconds < 5 ? 5 : seconds > $1 ? $1 : seconds))
}

# try TITLE COMMAND...: runs a command, and records its failure
try() {
  echo "== $1 =="
  "${@:2}" && return
  echo "FAILED: $1"
  status=1
  return 1
}

# copy_package FOLDER: copies the package with the layout of an installation
copy_package() {
  mkdir -p "$1" && cp -r runtime "$1/latentloop" && cp -r kernels bench export "$1/latentloop"
}

device() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"
}

sampling() {
  copy_package "$work/sampling" || return
  (
    cd "$work" && PYTHONPATH="$work/sampling" timeout "$(left 390)" \
      python3 -m latentloop.bench.gpu.check.sampling --out "$out" --commit "$commit" 2>&1 | tee "$out/sampling.txt"
  )
}

build() {
  local architecture nearest="$work/kernels/latentloop/kernels/nearest_codebook"
  architecture=$(python3 -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') || return
  copy_package "$work/kernels" || return
  nvcc -std=c++17 -O3 -arch="sm_$architecture" -Xptxas=-v -fatbin kernels/nearest_codebook/cuda/entries.cu \
    -o "$nearest/nearest_codebook.fatbin" 2>"$out/ptxas.txt" || return
  # The search needs only the plan from the operator library.
  c++ -std=c++17 -O2 -shared -fPIC kernels/nearest_codebook/cuda/plan.cpp \
    -o "$work/kernels/latentloop/kernels/liblatentloop_operators.so"
}

smoke() {
  (cd "$work" && PYTHONPATH="$work/kernels" timeout "$(left 60)" "$@" python3 -m latentloop.bench.nearest.gpu_smoke)
}

searches() {
  (
    cd "$work" && PYTHONPATH="$work/kernels" timeout "$(left 120)" \
      python3 -m latentloop.bench.nearest.gpu --out "$out" --commit "$commit" --minutes 1 2>&1 | tee "$out/nearest.txt"
  )
}

# sanitize TOOL: runs the small searches under compute-sanitizer; a time-out is not a failure
sanitize() {
  smoke compute-sanitizer --tool "$1" --error-exitcode 3 >"$out/$1.txt" 2>&1
  local result=$?
  tail -n 3 "$out/$1.txt"
  [ $result = 124 ] && echo "$1 did not finish in time" | tee -a "$out/$1.txt" && return
  return $result
}

try "device" device
try "sampling" sampling
if try "build of the kernels" build && try "small searches" smoke; then
  try "searches: checks and times" searches
  if command -v compute-sanitizer >/dev/null; then
    try "compute-sanitizer, memcheck" sanitize memcheck
    try "compute-sanitizer, racecheck" sanitize racecheck
  else
    echo "compute-sanitizer is not installed: skipped"
  fi
fi
echo "== $SECONDS s, status $status =="
exit $status
