"""Bundles: directories of ONNX graphs and weights, with a manifest that describes them."""
