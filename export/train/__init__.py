"""Training of the VQ-VAE, priors, decoder and classifier. All except the readers of data sets needs torch."""
