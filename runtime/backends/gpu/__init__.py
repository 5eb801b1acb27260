"""Backends on NVIDIA GPUs: state buffers in device memory, graphs enqueued on streams, no waiting within an image."""
