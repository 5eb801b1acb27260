"""Measurements that users can repeat: LatentLoop against baselines on this machine, in one run."""
