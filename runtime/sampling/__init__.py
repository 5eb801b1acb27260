"""Sampling, and what is computed with a sampler: likelihoods, classification, rejection, verification."""
