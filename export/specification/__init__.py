"""The executable specification: the algorithm in NumPy float64, which everything else is compared with."""
