"""What each image format needs beyond Pillow: depth, transparency, colour profile, orientation, frames."""
