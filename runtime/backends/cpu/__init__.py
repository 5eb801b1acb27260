"""Graphs on the CPU through ONNX Runtime, bound in place to NumPy memory."""
