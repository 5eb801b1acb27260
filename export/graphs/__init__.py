"""The networks as ONNX graphs, built node by node: no tracer decides what a step costs."""
