"""The networks as ONNX graphs, built node by node, so that the nodes of a step are known exactly."""
