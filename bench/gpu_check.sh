#!/usr/bin/env bash
# Checks and measures on a GPU, in less than nine minutes: sampling, and the kernels. The machine may have no network: it
# needs python3 with torch, numpy and cuda-python; nvcc and a C++ compiler for the kernels; and takes what else it finds of
# onnx, safetensors, onnxruntime(-gpu) and TensorRT. Nothing is installed, and the source tree stays as it is.
#
#   bench/gpu_check.sh [FOLDER [COMMIT]]    results go to FOLDER (default: $OUT, or else gpu-results)
#
# What fails is said, and the rest goes on. The status is 0 where everything is right and a backend of LatentLoop ran.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
out=$(mkdir -p "${1:-${OUT:-gpu-results}}" && cd "${1:-${OUT:-gpu-results}}" && pwd) || exit 1
commit=${2:-$(git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)}
export PATH="$PATH:/usr/local/cuda/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# left MOST: seconds for what comes next, at most so many
left() {
  local seconds=$((530 - SECONDS))
  echo $((seconds < 5 ? 5 : seconds > $1 ? $1 : seconds))
}

# try TITLE COMMAND...: a failure is noted
try() {
  echo "== $1 =="
  "${@:2}" && return
  echo "FAILED: $1"
  status=1
  return 1
}

# copied FOLDER: the package as it is when installed
copied() {
  mkdir -p "$1" && cp -r runtime "$1/latentloop" && cp -r kernels bench export "$1/latentloop"
}

device() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"
}

sampling() {
  copied "$work/sampling" && mkdir "$work/checks" &&
    cp tests/{driver_conformance,capture_conformance,driver_bytes}.py "$work/checks" || return
  (
    cd "$work" && PYTHONPATH="$work/sampling:$work/checks" timeout "$(left 390)" \
      python3 -m latentloop.bench.gpu.check.sampling --out "$out" --commit "$commit" 2>&1 | tee "$out/sampling.txt"
  )
}

build() {
  local architecture nearest="$work/kernels/latentloop/kernels/nearest_codebook"
  architecture=$(python3 -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') || return
  copied "$work/kernels" || return
  nvcc -std=c++17 -O3 -arch="sm_$architecture" -Xptxas=-v -fatbin kernels/nearest_codebook/cuda/entries.cu \
    -o "$nearest/nearest_codebook.fatbin" 2>"$out/ptxas.txt" || return
  # Of the operator library the search needs the plan alone.
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

# sanitize TOOL: one that takes too long is no failure
sanitize() {
  smoke compute-sanitizer --tool "$1" --error-exitcode 3 >"$out/$1.txt" 2>&1
  local found=$?
  tail -n 3 "$out/$1.txt"
  [ $found = 124 ] && echo "$1 was not finished for lack of time" | tee -a "$out/$1.txt" && return
  return $found
}

try "device" device
try "sampling" sampling
if try "build of the kernels" build && try "small searches" smoke; then
  try "searches: checks and times" searches
  if command -v compute-sanitizer >/dev/null; then
    try "compute-sanitizer, memcheck" sanitize memcheck
    try "compute-sanitizer, racecheck" sanitize racecheck
  else
    echo "no compute-sanitizer: left out"
  fi
fi
echo "== $SECONDS s, status $status =="
exit $status
