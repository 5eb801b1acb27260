#!/usr/bin/env bash
# Generates the planets at 128 x 128 and trains a model of three levels on them: 8 x 8, 16 x 16 and 32 x 32 codes. Needs
# `pip install ".[export]"` and two and a half hours of CPU time on cores with AMX, more on others. To continue after an
# interruption, run the same command again.
#
# usage: export/recipes/planets-128.sh [WORK_DIR [BUNDLE_DIR]]
set -euo pipefail
work=${1:-runs/planets-128}
bundle=${2:-$work/bundle}
data=$work/data
licence='Model: MIT, the LatentLoop authors. Data: synthetic images, drawn by `latentloop data planets`.'
mkdir -p "$work"

train() { # network, output, options; does nothing if the output exists
  local network=$1 out=$2
  shift 2
  [ -e "$out" ] || latentloop train "$network" --data "$data" --precision bfloat16 --seed 1 --licence "$licence" \
    --threads 1 --flip --out "$out" "$@"
}

prior() { # level, options
  local level=$1
  shift
  train prior "$work/$level.safetensors" --vqvae "$work/vqvae.safetensors" --level "$level" --kernel 3 \
    --class-channels 16 "$@"
}

[ -e "$data" ] || latentloop data planets --size 128 --train 3000 --test 100 --out "$data"
train vqvae "$work/vqvae.safetensors" --size 128 --levels 3 --channels 64 --residual-channels 32 --residual-layers 2 \
  --code-channels 32 --codebook-size 512 --ema-decay 0.98 --batch 32 --lr 8e-4 --unquantised-steps 200 --steps 5000
condition="--condition-channels 48 --condition-blocks 2"
prior bottom $condition --blocks 1 --channels 96 --residual-channels 48 --residual-blocks 6 --batch 8 --dropout 0 \
  --steps 2600 &
prior top --channels 128 --residual-channels 64 --blocks 2 --residual-blocks 3 --batch 64 --dropout 0.05 --steps 900
prior middle $condition --blocks 1 --channels 128 --residual-channels 64 --residual-blocks 6 --batch 16 --dropout 0 \
  --steps 2000
wait $!

latentloop export --vqvae "$work/vqvae.safetensors" --prior top="$work/top.safetensors" \
  --prior middle="$work/middle.safetensors" --prior bottom="$work/bottom.safetensors" --weights float16 \
  --data "$data" --licence "$licence" --out "$bundle" --force
latentloop verify "$bundle"
