"""LatentLoop's own checkpoints."""
