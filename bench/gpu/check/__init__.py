"""The check of sampling on a GPU: its parts, and the program that runs them."""
