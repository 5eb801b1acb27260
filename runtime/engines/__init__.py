"""Sets of TensorRT engines: their description, and finding the set that fits a GPU."""
