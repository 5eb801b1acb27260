"""The two forms of a residual block, and telling which one a checkpoint was trained in."""
