"""An ONNX file as it was given: reading it, and finding its images' input and its last layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.external_data_helper import uses_external_data

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import file_digest

LIMIT = 2**31 - 1  # bytes that a message of protobuf can have
SAME_VALUES = ("Identity", "Cast", "Flatten", "Reshape", "Squeeze")  # operators that keep values, in another form


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A model with all its weights, the file's name and SHA-256, and those of its files of external data."""

    path: Path
    proto: onnx.ModelProto
    sha256: str
    data: dict[str, str]  # SHA-256 by name

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The inputs that have no default."""
        stored = {each.name for each in self.proto.graph.initializer}
        return [each for each in self.proto.graph.input if each.name not in stored]

    def producer(self, value: str) -> onnx.NodeProto | None:
        """Returns the node that computes a value, None for an input, a weight or an unknown name."""
        return next((node for node in self.proto.graph.node if value in node.output), None)

    def last_operator(self, value: str) -> onnx.NodeProto | None:
        """Returns the node that computes a value, before operators that change only its form."""
        node = self.producer(value)
        while node is not None and node.op_type in SAME_VALUES:
            node = self.producer(node.input[0])
        return node

    def last_layer_input(self, value: str) -> str | None:
        """Returns the input of the matrix product that computes a value, which may be followed by a bias and a softmax;
        None if another operator computes it.
        """
        constants = {each.name for each in self.proto.graph.initializer}
        constants |= {node.output[0] for node in self.proto.graph.node if node.op_type == "Constant"}
        node = self.last_operator(value)
        while node is not None:
            if node.op_type in ("Gemm", "MatMul"):
                return node.input[0] if self._is_constant(node.input[1], constants) else None
            if node.op_type in ("Softmax", "LogSoftmax"):
                node = self.last_operator(node.input[0])
            elif node.op_type == "Add" and any(each in constants for each in node.input):
                node = self.last_operator(next((each for each in node.input if each not in constants), ""))
            else:
                return None
        return None

    def _is_constant(self, value: str, constants: set[str]) -> bool:
        node = self.producer(value)
        while node is not None and node.op_type in ("Identity", "Transpose", "Cast"):
            value = node.input[0]
            node = self.producer(value)
        return value in constants


def is_onnx(path: Path) -> bool:
    """Returns whether a file begins like an ONNX model: with the version of its format, not as safetensors."""
    try:
        if not path.is_file():  # opening a pipe would block
            return False
        with path.open("rb") as file:
            first = file.read(10)
    except OSError:
        return False
    return first[:1] == b"\x08" and first[8:] != b'{"'


def read_onnx(path: Path) -> OnnxModel:
    """Reads a model with its external data. Raises CheckpointError that names the file."""
    try:
        content = path.read_bytes()
        if len(content) > LIMIT:
            raise too_large(path, len(content))
        proto = onnx.ModelProto()
        proto.ParseFromString(content)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except CheckpointError:
        raise
    except Exception as error:  # protobuf's, whose type depends on its implementation
        raise CheckpointError(f"{path}: not a readable ONNX file: {error}; is it complete?") from error
    if not proto.graph.node:
        raise CheckpointError(f"{path}: not a readable ONNX file: it has no graph; is it complete?")
    data = _load_external_data(path, proto)
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # of several types
        raise CheckpointError(f"{path}: not a valid ONNX model: {one_line(error)}") from error
    return OnnxModel(path, proto, hashlib.sha256(content).hexdigest(), data)


def _load_external_data(path: Path, proto: onnx.ModelProto) -> dict[str, str]:
    """Loads the tensors that are in other files, and returns the SHA-256 of these files by name.

    The files can be links, as in the cache of a model hub, so they are looked up beside ``path`` itself.
    """
    digests: dict[str, str] = {}
    size = proto.ByteSize()
    for tensor in [each for each in all_tensors(proto) if uses_external_data(each)]:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        file = path.parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(f"{path}: its weights are in {name!r}, expected a file of the same folder")
        try:
            if not file.is_file():
                raise FileNotFoundError(2, "No such file", str(file))
            offset = int(entries.get("offset", 0))
            length = int(entries.get("length", file.stat().st_size - offset))
            if (size := size + length) > LIMIT:
                raise too_large(path, size)
            with file.open("rb") as opened:
                opened.seek(offset)
                tensor.raw_data = opened.read(length)
            if len(tensor.raw_data) < length:
                raise ValueError(f"{tensor.name!r} ends after {len(tensor.raw_data)} of {length} bytes")
            if name not in digests:
                digests[name] = file_digest(file)
        except OSError as error:
            raise CheckpointError(
                f"{path}: its weights are in {name!r}: cannot read {file}: {error.strerror}; keep it beside the model"
            ) from error
        except ValueError as error:
            raise CheckpointError(f"{path}: its weights in {name!r} are not readable: {error}") from error
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return digests


def all_tensors(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yields the weights and constants of a model, also those of sub-graphs and functions."""
    yield from _tensors_of(proto.graph)
    for function in proto.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors_of(graph)


def too_large(path: Path, size: int) -> CheckpointError:
    """Returns the error for a model that one message of protobuf cannot hold."""
    return CheckpointError(f"{path}: the model has {size / 1e9:.1f} GB, expected at most {LIMIT / 1e9:.1f} GB")


def one_line(error: BaseException, written: Path | None = None, instead: Path | None = None) -> str:
    """Returns the first line of an error's message that says something. Where it names the temporary file ``written``,
    the file ``instead`` is named.
    """
    text = str(error) if written is None else str(error).replace(str(written), str(instead))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:500] if lines else type(error).__name__
