"""LatentLoop samples images from a trained VQ-VAE-2."""
