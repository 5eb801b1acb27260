"""Draws more images than have to be in memory at once, a batch at a time, and shows how far it is.

python examples/stream.py [FOLDER [COUNT]]     # default: 48 images, to ./streamed
"""

import sys
from pathlib import Path

import numpy as np

from latentloop import Bundle, Sampler
from latentloop.images import grid, write_image

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "streamed")
if folder.exists():
    sys.exit(f"{folder} exists: name another folder")
count = int(sys.argv[2]) if len(sys.argv) > 2 else 48
bundle = Bundle.default()
sampler = Sampler(bundle)


def show(progress):
    """Is called after every row of codes. If it returned False, the run would end."""
    if progress.rows_done == progress.rows_total:
        print(f"{progress.level} level finished, after {progress.images_done} of {progress.images_total} images")


folder.mkdir(parents=True)
total = np.zeros(bundle.image_shape)
done = 0
for number, batch in enumerate(sampler.stream(count, labels="ocean", seeds=1, batch_size=16, callback=show)):
    write_image(folder / f"batch{number}.png", grid(batch.images, columns=4))
    total += batch.images.sum(axis=0)
    done += len(batch.images)
write_image(folder / "mean.png", np.round(total / done).astype(np.uint8))
print(f"wrote {number + 1} batches and the mean of {done} images to {folder}")
