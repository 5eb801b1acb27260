"""Backends: each runs a bundle's graphs on one kind of device with one library. ``registry`` lists them."""
