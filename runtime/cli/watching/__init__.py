"""Watching images being drawn: an animation in a file, and a picture in the terminal."""
