"""Faults to insert into the TensorRT plugin, one at a time."""

from __future__ import annotations

from mutants import Mutant

MUTANTS = [
    Mutant(
        "layout lost by clone", "NearestCodebook::clone", "NearestCodebook(channels_first_)", "NearestCodebook(false)"
    ),
    Mutant("wrong layout serialised", "NearestCodebook", "field_(…, &channels_first_", "field_(…, &fields_.nbFields"),
    Mutant("axis D kept", "getOutputShapes", "z.d + axis + 1, z.d + z.nbDims", "z.d + axis, z.d + z.nbDims - 1"),
    Mutant("no workspace for the norms", "getWorkspaceSize", "prepared + workspace", "0 * prepared + workspace"),
    Mutant("norms overwrite the partial results", "enqueue", "(workspace) + memory.workspace_bytes", "(workspace)"),
    Mutant(
        "codebook of another type accepted",
        "supportsFormatCombination",
        "tensor.type == tensors[0].desc.type",
        "tensor.type != DataType::kINT8 || true",
    ),
    Mutant("any layout accepted", "createPlugin", "if (channels_first == 0 || …)", "if (channels_first >= 0)"),
]
