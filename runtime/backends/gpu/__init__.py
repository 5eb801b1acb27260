"""Backends on NVIDIA GPUs: state buffers are in device memory, and the host enqueues a whole image before it waits."""
