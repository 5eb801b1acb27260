"""A plan of the stand-in for TensorRT: the ONNX model itself, and what it was built for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

MAGIC = b"a stand-in's plan\n"

Shapes = list[list[int]]  # an input's smallest, optimal and largest shape


@dataclass(frozen=True)
class Plan:
    """``architectures`` as "sm90"; ``profiles``: by input, for those that depend on the batch."""

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
    """The plan in those bytes; None where they are none, or not all of it."""
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
