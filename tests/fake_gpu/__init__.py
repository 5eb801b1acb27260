"""A GPU, its driver and the libraries that use it, played on the host for tests."""
