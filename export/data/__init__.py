"""Data sets of images, and their codes: for training, and for checks of checkpoints on the user's data."""
