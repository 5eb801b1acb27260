"""Samples as a Ray dataset: every row is an image with its seed and its label. pip install "ray[data]" """

import sys

from latentloop import Bundle, Sampler

try:
    import ray.data
except ImportError as error:  # also of pandas or pyarrow, which Ray Data needs
    sys.exit(f'Ray Data cannot be used ({error}): pip install "ray[data]"')


class Draw:
    """Draws the samples of a batch of rows. Each of Ray's workers has a sampler of its own."""

    def __init__(self):
        self.sampler = Sampler(Bundle.default(), threads=1)

    def __call__(self, rows):
        """Returns images uint8 [N, 64, 64, 3], seeds uint64 [N] and labels int64 [N] for the rows' numbers [N]."""
        samples = self.sampler.sample(len(rows["id"]), seeds=rows["id"], labels=rows["id"] % 8, batch_size=16)
        return {"image": samples.images, "seed": samples.seeds, "label": samples.labels}


workers = ray.data.ActorPoolStrategy(min_size=1, max_size=64)  # as many as the cluster has processors for
samples = ray.data.range(64).map_batches(Draw, batch_size=16, compute=workers, num_cpus=1)
for batch in samples.iter_batches(batch_size=32):
    print(batch["image"].shape, batch["seed"].min(), batch["seed"].max())
