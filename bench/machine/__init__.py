"""What the machine can do at most, and what it is."""
