#!/usr/bin/env bash
# Trains and exports the default bundle: Fashion-MNIST, 32 x 32, class-conditional, two levels of 4 x 4 and 8 x 8 codes.
# Needs `pip install ".[export]"` and the IDX files (Debian package dataset-fashion-mnist). Takes about two hours on
# two cores; give the same command again after an interruption, and it goes on where it was.
#
# usage: export/recipes/fashion-mnist.sh [DATA_DIR [WORK_DIR [BUNDLE_DIR]]]
set -euo pipefail
data=${1:-/usr/share/datasets/fashion-mnist}
work=${2:-runs/fashion-mnist}
bundle=${3:-runtime/data/fashion-mnist}
threads=${THREADS:-2}
licence='Model: MIT, the LatentLoop authors. Data: Fashion-MNIST, MIT, Zalando SE.'
names='T-shirt,trousers,pullover,dress,coat,sandal,shirt,sneaker,bag,boot'
mkdir -p "$work"

train() { # kind, output, options: skipped where the output is there
  local kind=$1 out=$2
  shift 2
  [ -e "$out" ] || latentloop train "$kind" --data "$data" --size 32 --threads "$threads" --seed 1 --licence "$licence" \
    --out "$out" "$@"
}

train vqvae "$work/vqvae.safetensors" --image-channels 1 --channels 64 --residual-channels 32 --residual-layers 2 \
  --code-channels 32 --codebook-size 256 --levels 2 --steps 5000 --batch 128
train prior "$work/top.safetensors" --vqvae "$work/vqvae.safetensors" --level top --class-names "$names" \
  --channels 64 --residual-channels 64 --kernel 3 --blocks 2 --residual-blocks 3 --class-channels 32 \
  --steps 10000 --batch 64
train prior "$work/bottom.safetensors" --vqvae "$work/vqvae.safetensors" --level bottom --class-names "$names" \
  --channels 64 --residual-channels 64 --kernel 3 --blocks 2 --residual-blocks 3 --class-channels 32 --no-attention \
  --condition-channels 64 --condition-blocks 2 --steps 12000 --batch 64

latentloop export --vqvae "$work/vqvae.safetensors" --top "$work/top.safetensors" --bottom "$work/bottom.safetensors" \
  --data "$data" --class-names "$names" --licence "$licence" --out "$bundle" --force
