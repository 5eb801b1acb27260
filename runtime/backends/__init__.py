"""What runs the graphs. Each backend opens ONNX files and binds their inputs and outputs to memory."""
