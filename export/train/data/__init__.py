"""Training data: data sets of images, and their codes."""
