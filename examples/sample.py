"""Draws images, and writes them as files.

python examples/sample.py [FOLDER]     # default: ./sampled
"""

import sys
from pathlib import Path

from latentloop import Bundle, Sampler
from latentloop.images import grid, write_image, write_images

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "sampled")
if folder.exists():
    sys.exit(f"{folder} exists: name another folder")

bundle = Bundle.default()  # the model that ships with the package; Bundle.open("path") opens your own
sampler = Sampler(bundle)
print(f"drawing on {sampler.device}: {sampler.device_reason}")

# An image of each class. Image i has the seed 1 + i: the same seed, label and settings draw the same image again.
samples = sampler.sample(len(bundle.classes), labels=bundle.classes, seeds=1)
names = [f"{name}-seed{seed}.png" for name, seed in zip(bundle.classes, samples.seeds, strict=True)]
write_images(folder, samples.images, names)
print(f"wrote {len(names)} images, {samples.images.dtype} {list(samples.images.shape)}, to {folder}")

# A lower temperature draws the more probable codes more often: calmer images, which differ less. top_p leaves out
# the least probable codes. Both can be set for one level alone: "top" has the large shapes, "bottom" the details.
calm = sampler.sample(8, labels="gas", seeds=1, temperature={"bottom": 0.7}, top_p={"top": 0.9})
write_image(folder / "calm-gas.png", grid(calm.images, columns=4, scale=2))
print(f"wrote {folder / 'calm-gas.png'}: seeds {calm.seeds[0]} to {calm.seeds[-1]}")
