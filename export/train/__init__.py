"""Training of the VQ-VAE, priors, decoder and classifier. Needs torch."""
