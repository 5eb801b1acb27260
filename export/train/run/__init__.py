"""One training run: options, inputs, the loop with its state file, the checkpoint."""
