"""Loads a plugin library (second argument) into a TensorRT package (first argument). Prints the result as JSON."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np

trt = importlib.import_module(sys.argv[1])
registry = trt.get_plugin_registry()
registry.load_library(sys.argv[2])
creator = registry.get_creator("NearestCodebook", "1", "")


def is_created(value: int) -> bool:
    """Returns whether the creator accepts this value of channels_first."""
    field = trt.PluginField("channels_first", np.array([value], np.int32), trt.PluginFieldType.INT32)
    return creator.create_plugin("layer", trt.PluginFieldCollection([field]), trt.TensorRTPhase.BUILD) is not None


names = [field.name for field in creator.field_names]
print(json.dumps({"fields": names, "created": [is_created(value) for value in (0, 1, 2)]}))
