"""Measurements that users can repeat: LatentLoop against its peers on this machine, in one run."""
