"""Keeps a part of a picture, and draws the rest anew.

python examples/complete.py [FOLDER [PICTURE]]     # default: ./completed, with a picture that is drawn first
"""

import sys
from pathlib import Path

import numpy as np

from latentloop import Bundle, Sampler, keep_rows
from latentloop.images import grid, read_images, write_image

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "completed")
if folder.exists():
    sys.exit(f"{folder} exists: name another folder")
bundle = Bundle.default()
sampler = Sampler(bundle)
if len(sys.argv) > 2:
    picture = read_images(sys.argv[2], bundle.image_shape, resize=True)[:1]  # its centre, in the model's size
else:
    picture = sampler.sample(1, labels="lava", seeds=5).images

# A picture as codes: for each level a grid of integers, which the decoder turns into pixels again.
codes = sampler.encode(picture)
label = int(sampler.classify(picture).probabilities[0].argmax())
print(f"the picture looks most like {bundle.classes[label]}")

folder.mkdir(parents=True)
for name, rows in {"completed": 0.5, "varied": {"top": 1}}.items():
    # -1 in `given` stands for a code to draw: below the upper half, or everywhere but in the top level.
    given = keep_rows({level: values.repeat(4, axis=0) for level, values in codes.items()}, rows)
    drawn = sampler.sample(4, labels=label, given=given, seeds=1)
    kept = ", ".join(f"{(values[0] >= 0).sum()} of {values[0].size} {level}" for level, values in given.items())
    row = np.concatenate([picture, sampler.decode(codes), drawn.images])  # original, reconstruction, four draws
    write_image(folder / f"{name}.png", grid(row, columns=6, scale=2))
    print(f"wrote {folder / name}.png, keeping {kept} codes")
