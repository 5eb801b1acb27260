"""A plan of the simulated TensorRT: the ONNX model, and the description of the engine as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

MAGIC = b"a plan of the simulated TensorRT\n"

Shapes = list[list[int]]  # minimal, optimal and maximal shape of an input


@dataclass(frozen=True)
class Plan:
    """``architectures``, for example "sm90"; ``profiles``: by the names of the inputs with a dynamic shape."""

    library: str
    version: str
    name: str
    architectures: list[str]
    profiles: list[dict[str, Shapes]]
    flags: list[str]
    model: bytes

    def to_bytes(self) -> bytes:
        fields = asdict(self)
        fields["model"] = hashlib.sha256(self.model).hexdigest()
        return MAGIC + json.dumps(fields).encode() + b"\n" + self.model


def read_plan(data: bytes) -> Plan | None:
    """Returns the plan, or None if ``data`` is not a complete plan."""
    if not data.startswith(MAGIC):
        return None
    head, _, model = data[len(MAGIC) :].partition(b"\n")
    try:
        fields = json.loads(head)
    except ValueError:
        return None
    if fields.pop("model") != hashlib.sha256(model).hexdigest():
        return None
    return Plan(**fields, model=model)
