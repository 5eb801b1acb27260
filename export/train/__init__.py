"""Training of the VQ-VAE, the priors, the decoder and the classifier. Needs torch, except for the readers of data sets."""
