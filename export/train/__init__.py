"""Training of the VQ-VAE and of the priors over its codes; all but the data readers needs torch."""
