"""How good samples, reconstructions and rounded weights are."""
