"""A simulated GPU for tests: its driver, TensorRT and ONNX Runtime's CUDA provider, all on the CPU."""
