"""Hosts on a GPU: state in device memory, graphs enqueued on a stream, no waiting within an image."""
