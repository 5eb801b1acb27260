"""The implementations of sampling that are timed: baselines in PyTorch, and LatentLoop, behind one interface."""
