"""The nearest codeword of each vector: the encoder's hot spot."""
