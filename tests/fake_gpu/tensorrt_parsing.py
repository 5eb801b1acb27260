"""A simulation of TensorRT's ONNX parser: a network is an ONNX model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from fake_gpu.tensorrt_types import ELEMENTS, DataType, Dims, ErrorCode, ILogger, check_logger


@dataclass(frozen=True)
class ITensor:
    name: str
    dtype: DataType
    shape: Dims


class INetworkDefinition:
    def __init__(self, is_strongly_typed: bool) -> None:
        self.name = "Unnamed Network 0"
        self.is_strongly_typed = is_strongly_typed
        self.model: onnx.ModelProto | None = None
        self.inputs: list[ITensor] = []
        self.outputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    @property
    def num_layers(self) -> int:
        return len(self.model.graph.node) if self.model is not None else 0

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]


@dataclass(frozen=True)
class IParserError:
    """An error. Its getters are methods, as in TensorRT."""

    of_code: ErrorCode
    of_desc: str
    of_node: int = -1
    of_name: str = ""
    of_operator: str = ""

    def code(self) -> ErrorCode:
        return self.of_code

    def desc(self) -> str:
        return self.of_desc

    def node(self) -> int:
        return self.of_node

    def node_name(self) -> str:
        return self.of_name

    def node_operator(self) -> str:
        return self.of_operator


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, check_logger(logger)
        self._errors: list[IParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> IParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        """Reads a model with its external weights. Returns False, with an error in the log, if that fails."""
        if not isinstance(model, str):
            raise TypeError(f"parse_from_file(): incompatible function arguments: {type(model).__name__}")
        if not Path(model).is_file():
            text = f"Input file cannot be found, or is not a regular file: {model}"
            return self._fail(IParserError(ErrorCode.INVALID_VALUE, text))
        try:
            parsed = onnx.load(model)
        except Exception:  # protobuf and the file system raise various types
            return self._fail(IParserError(ErrorCode.MODEL_DESERIALIZE_FAILED, "Failed to parse the ONNX model."))
        return self._set_network(parsed)

    def _set_network(self, parsed: onnx.ModelProto) -> bool:
        functions = {(function.domain, function.name) for function in parsed.functions}
        for index, node in enumerate(parsed.graph.node):
            if node.domain and (node.domain, node.op_type) not in functions:
                text = "Plugin not found, are the plugin name, version, and namespace correct?"
                return self._fail(IParserError(ErrorCode.INVALID_NODE, text, index, node.name, node.op_type))
        constants = {tensor.name for tensor in parsed.graph.initializer}
        for values, tensors in (
            (parsed.graph.input, self._network.inputs),
            (parsed.graph.output, self._network.outputs),
        ):
            for value in values:
                tensor_type = value.type.tensor_type
                if value.name in constants:
                    continue
                if tensor_type.elem_type not in ELEMENTS:
                    text = f"the type of {value.name} is not supported"
                    return self._fail(IParserError(ErrorCode.UNSUPPORTED_NODE_DATATYPE, text))
                sizes = Dims(size.dim_value if size.HasField("dim_value") else -1 for size in tensor_type.shape.dim)
                tensors.append(ITensor(value.name, ELEMENTS[tensor_type.elem_type], sizes))
        self._network.model = parsed
        return True

    def _fail(self, error: IParserError) -> bool:
        self._errors.append(error)
        text = f"In node {error.node()} with name: {error.node_name()} and operator: {error.node_operator()}"
        self._logger.log(ILogger.ERROR, f"{text}: {error.code().name}: {error.desc()}")
        return False
