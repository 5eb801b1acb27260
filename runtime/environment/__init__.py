"""The machine, and the Python packages installed on it."""
