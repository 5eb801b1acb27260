"""File formats of checkpoints, read as plain data: nothing in a file is executed."""
