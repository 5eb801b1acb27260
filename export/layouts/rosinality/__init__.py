"""The layout of the common PyTorch implementation of VQ-VAE-2, rosinality/vq-vae-2-pytorch.

Its names and this project's: ``horizontal`` is the convolution over the rows above, ``vertical`` the one over the
columns to the left; the VQ-VAE's levels are t (top) and b (bottom); codebooks are stored as [D, K].
"""
