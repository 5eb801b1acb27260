"""From trained checkpoints to bundles. Needs the ``export`` extra (torch, onnx, safetensors)."""
