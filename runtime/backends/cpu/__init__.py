"""The backend on CPUs: ONNX Runtime sessions, bound in place to NumPy arrays."""
