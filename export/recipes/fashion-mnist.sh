#!/usr/bin/env bash
# Trains and exports a bundle of Fashion-MNIST: 32 x 32, class-conditional, two levels of 4 x 4 and 8 x 8 codes.
# Needs `pip install ".[export]"` and the IDX files (Debian package dataset-fashion-mnist). Runs for about an hour on two
# cores. To continue after an interruption, run the same command again.
#
# usage: export/recipes/fashion-mnist.sh [DATA_DIR [WORK_DIR [BUNDLE_DIR]]]
set -euo pipefail
data=${1:-/usr/share/datasets/fashion-mnist}
work=${2:-runs/fashion-mnist}
bundle=${3:-$work/bundle}
licence='Model: MIT, the LatentLoop authors. Data: Fashion-MNIST, MIT, Zalando SE.'
names='T-shirt,trousers,pullover,dress,coat,sandal,shirt,sneaker,bag,boot'
mkdir -p "$work"

train() { # network, output, options; does nothing if the output exists
  local network=$1 out=$2
  shift 2
  [ -e "$out" ] || latentloop train "$network" --data "$data" --size 32 --seed 1 --licence "$licence" --out "$out" "$@"
}

prior() { # level, options
  local level=$1
  shift
  train prior "$work/$level.safetensors" --vqvae "$work/vqvae.safetensors" --level "$level" --class-names "$names" \
    --channels 64 --residual-channels 32 --kernel 3 --blocks 2 --residual-blocks 3 --class-channels 16 \
    --batch 64 --threads 1 "$@"
}

train vqvae "$work/vqvae.safetensors" --image-channels 1 --channels 64 --residual-channels 32 --residual-layers 2 \
  --code-channels 32 --codebook-size 256 --levels 2 --batch 128 --threads 2 --steps 5000
prior bottom --no-attention --condition-channels 24 --condition-blocks 2 --steps 9000 &
prior top --steps 9000
wait $!

latentloop export --vqvae "$work/vqvae.safetensors" --top "$work/top.safetensors" --bottom "$work/bottom.safetensors" \
  --data "$data" --class-names "$names" --licence "$licence" --out "$bundle" --force
latentloop verify "$bundle"
