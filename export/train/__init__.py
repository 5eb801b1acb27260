"""Training of the VQ-VAE and of the priors over its codes. Everything here but the data readers needs torch."""
