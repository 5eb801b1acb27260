"""Inputs of the loop over one level's codes, and the uniform random numbers among them."""
