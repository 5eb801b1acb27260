"""Turns the checkpoints of a training into a bundle, checks it, and draws from it.

python examples/export.py [FOLDER [VQVAE TOP BOTTOM]]     # default: ./exported, from the default model's checkpoints

Needs PyTorch: pip install ".[export]". The checkpoints can be those of `latentloop train` or of
rosinality/vq-vae-2-pytorch.
"""

import subprocess
import sys
from pathlib import Path

from latentloop import Bundle, Sampler
from latentloop.images import grid, write_image

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "exported")
if folder.exists():
    sys.exit(f"{folder} exists: name another folder")
planets = Path(__file__).parents[1] / "export" / "recipes" / "planets"
files = sys.argv[2:] or [planets / f"{part}.safetensors" for part in ("vqvae", "top", "bottom")]
vqvae, top, bottom = map(str, files)
bundle_folder = folder / "bundle"


def latentloop(*arguments):
    """Runs a command of the package. If it fails, it has said why, and this script ends."""
    if subprocess.run([sys.executable, "-m", "latentloop", *map(str, arguments)]).returncode != 0:
        sys.exit(1)


latentloop("export", "--vqvae", vqvae, "--top", top, "--bottom", bottom, "--out", bundle_folder)
latentloop("verify", bundle_folder)  # the graphs agree with the float64 specification on this machine

bundle = Bundle.open(bundle_folder)  # from here on, nothing needs PyTorch
for level in bundle.levels:
    print(f"{level.name}: {level.height} x {level.width} codes, each one of {level.codebook_size}")
samples = Sampler(bundle).sample(8, seeds=1)
write_image(folder / "samples.png", grid(samples.images, columns=4, scale=2))
print(f"wrote {bundle_folder} and {folder / 'samples.png'}")
