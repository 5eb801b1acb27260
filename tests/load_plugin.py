"""Loads the plugin library named second into the TensorRT named first, and prints what came of it as JSON."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np

trt = importlib.import_module(sys.argv[1])
registry = trt.get_plugin_registry()
registry.load_library(sys.argv[2])
creator = registry.get_creator("NearestCodebook", "1", "")


def made(value: int) -> bool:
    """Whether the creator makes a plugin of that channels_first."""
    field = trt.PluginField("channels_first", np.array([value], np.int32), trt.PluginFieldType.INT32)
    return creator.create_plugin("layer", trt.PluginFieldCollection([field]), trt.TensorRTPhase.BUILD) is not None


names = [field.name for field in creator.field_names]
print(json.dumps({"fields": names, "made": [made(value) for value in (0, 1, 2)]}))
