"""The algorithm in NumPy float64: the reference of every other implementation."""
