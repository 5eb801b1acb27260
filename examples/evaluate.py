"""Measures how well a model encodes pictures: bits of their codes, and how close the reconstructions are.

python examples/evaluate.py [FOLDER [PICTURES]]     # default: ./evaluated, with samples of the model itself, which it
                                                        # encodes better than other pictures
"""

import sys
from pathlib import Path

import numpy as np

from latentloop import Bundle, Sampler, evaluate
from latentloop.images import grid, read_images, write_image

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "evaluated")
if folder.exists():
    sys.exit(f"{folder} exists: name another folder")
bundle = Bundle.default()
sampler = Sampler(bundle)
if len(sys.argv) > 2:
    pictures, labels = read_images(sys.argv[2], bundle.image_shape, resize=True), None  # the classifier finds classes
else:
    samples = sampler.sample(16, seeds=1)
    pictures, labels = samples.images, samples.labels

evaluation = evaluate(sampler, pictures, labels)
for level in evaluation.levels:
    print(
        f"{level.name}: {level.bits_per_code:.2f} bits per code, {level.codes_used} of {level.codebook_size} codes used"
    )
print(f"{evaluation.bits_per_image:.0f} bits per image, the cost of the codes, not a likelihood of the pixels")
print(f"PSNR {evaluation.psnr.mean():.1f} dB, SSIM {evaluation.ssim.mean():.3f}")

# The pictures that the model reconstructs worst, beside their reconstructions.
worst = evaluation.psnr.argsort()[:4]
reconstructions = sampler.decode(sampler.encode(pictures[worst]))
folder.mkdir(parents=True)
write_image(folder / "worst.png", grid(np.concatenate([pictures[worst], reconstructions]), columns=len(worst)))
print(f"wrote {folder / 'worst.png'}: the {len(worst)} pictures with the lowest PSNR, and their reconstructions")
