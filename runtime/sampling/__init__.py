"""Sampling, and what uses a sampler: likelihoods, classification, rejection sampling, verification."""
