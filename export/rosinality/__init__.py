"""Import of the common PyTorch implementation's files (rosinality/vq-vae-2-pytorch).

Its names and ours: ``horizontal`` is the rows-above convolution, ``vertical`` the left one; the VQ-VAE's
levels are t and b; codebooks are stored as [D, K].
"""

from latentloop.export.rosinality.prior import read_prior
from latentloop.export.rosinality.vqvae import read_vqvae

__all__ = ["read_prior", "read_vqvae"]
