"""Classifiers of other programs, given as ONNX files, attached to a bundle."""
