"""The models in PyTorch: the one place where they are defined."""
