"""The two variants of a residual block, with and without an in-place activation, and how to detect them."""
