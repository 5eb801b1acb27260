"""Special cases of each image format: depth, transparency, colour profile, orientation, frames."""
