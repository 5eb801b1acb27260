"""The check on a GPU: its parts, and the program that runs them."""
