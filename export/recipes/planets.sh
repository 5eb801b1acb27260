#!/usr/bin/env bash
# Generates the planets data set, trains on it and exports the default bundle: 64 x 64, colour, eight classes, two levels
# of 8 x 8 and 16 x 16 codes. Needs `pip install ".[export]"`. Runs for two and a quarter hours on two cores with bfloat16
# instructions. To continue after an interruption, run the same command again.
#
# usage: export/recipes/planets.sh [WORK_DIR [BUNDLE_DIR]]
set -euo pipefail
work=${1:-runs/planets}
bundle=${2:-$work/bundle}
data=$work/data
licence='Model: MIT, the LatentLoop authors. Data: synthetic images, drawn by `latentloop data planets`.'
mkdir -p "$work"

train() { # network, output, options; does nothing if the output exists
  local network=$1 out=$2
  shift 2
  [ -e "$out" ] || latentloop train "$network" --data "$data" --precision bfloat16 --seed 1 --licence "$licence" \
    --out "$out" "$@"
}

prior() { # level, options
  local level=$1
  shift
  train prior "$work/$level.safetensors" --vqvae "$work/codes.safetensors" --level "$level" --flip --threads 1 \
    --channels 128 --residual-channels 64 --kernel 3 --class-channels 16 "$@"
}

[ -e "$data" ] || latentloop data planets --out "$data"
train vqvae "$work/codes.safetensors" --size 64 --levels 2 --channels 96 --residual-channels 48 --residual-layers 2 \
  --code-channels 32 --codebook-size 512 --ema-decay 0.98 --batch 64 --lr 8e-4 --unquantised-steps 200 --flip \
  --threads 2 --steps 5000
prior bottom --blocks 1 --residual-blocks 6 --condition-channels 48 --condition-blocks 2 --batch 32 --dropout 0 \
  --steps 9000 &
prior top --blocks 2 --residual-blocks 3 --batch 64 --dropout 0.05 --steps 7000
# The priors depend on the codes only, so the decoder can be trained at the same time.
train decoder "$work/vqvae.safetensors" --vqvae "$work/codes.safetensors" --flip --threads 1 --weight 0.6 \
  --steps 1000
train classifier "$work/classifier.safetensors" --size 64 --channels 12 --groups 4 --flip --threads 1 --batch 64 \
  --average 0.99 --steps 600
wait $!

latentloop export --vqvae "$work/vqvae.safetensors" --top "$work/top.safetensors" --bottom "$work/bottom.safetensors" \
  --classifier "$work/classifier.safetensors" --weights float16 --save-checkpoints "$work/checkpoints" \
  --data "$data" --licence "$licence" --out "$bundle" --force
latentloop verify "$bundle"
