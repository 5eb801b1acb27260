"""Engines of a bundle: its graphs, each rewritten for a precision, built by TensorRT or TensorRT for RTX."""
