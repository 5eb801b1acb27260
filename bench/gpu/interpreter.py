"""A bundle's graphs on a GPU through PyTorch: what runs the loop's host there without TensorRT or ONNX Runtime.

It is no backend, for one call a node is slow. It shows that a real driver does what the host asks of it: addresses,
streams, copies, replays and the decoding beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from latentloop import Bundle, Sampler
from latentloop.backends.gpu.backend import GpuBackend
from latentloop.backends.gpu.device_graph import Tensor
from latentloop.backends.interface import MOST_BATCH
from latentloop.bench.gpu.clock import full_precision
from latentloop.bench.gpu.program import Program
from latentloop.bundles.manifest import Prior
from latentloop.engines.engine_set import codec_of
from latentloop.kernels.driver import Driver, Stream

TYPES = {"float32": "<f4", "int64": "<i8", "uint8": "|u1"}  # as the CUDA array interface says them


class Address:
    """A tensor of the device's memory, for PyTorch to adopt."""

    def __init__(self, tensor: Tensor) -> None:
        self.__cuda_array_interface__ = {
            "shape": tensor.shape,
            "typestr": TYPES[tensor.dtype],
            "data": (tensor.pointer, False),
            "version": 2,
        }


class TorchGraph:
    """A DeviceGraph; see there.

    Captured work keeps its addresses. PyTorch's own memory is therefore taken from ``pool``, which outlives the graph
    and serves one stream: whoever is given a piece again is behind all replays that use it.
    """

    def __init__(self, name: str, program: Program, number: int, pool: Any, *, capturable: bool) -> None:
        self.name, self.capturable = name, capturable
        self._program, self._number, self._pool = program, number, pool

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """On the stream, whoever made it."""
        device = torch.device("cuda", self._number)
        external: Any = torch.cuda.ExternalStream(stream.handle, device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(external), torch.cuda.use_mem_pool(self._pool, device):
            self.run({name: torch.as_tensor(Address(tensor), device=device) for name, tensor in tensors.items()})

    def run(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Over the inputs' and outputs' memory."""
        with torch.inference_mode():
            for name, value in self._program.run(tensors).items():
                tensors[name].copy_(value)


class TorchGraphs:
    """Graphs for a GpuBackend; see Graphs there."""

    largest_batch = MOST_BATCH

    def __init__(self, bundle: Bundle, number: int, *, capturable: bool) -> None:
        full_precision()
        self.encoder, self.decoder = codec_of(bundle.manifest)
        self._bundle, self._number, self._capturable = bundle, number, capturable
        self._pools: dict[Stream, Any] = {}

    def prior(self, level: str) -> Prior:
        """The bundle's own, in float32."""
        prior = self._bundle.manifest.level(level).prior
        assert prior is not None
        return prior.at("float32")

    def load(self, file: str, batch: int, stream: Stream) -> TorchGraph:
        """One for all batch sizes."""
        if stream not in self._pools:
            self._pools[stream] = torch.cuda.MemPool()
        program = Program(self._bundle.path / file, f"cuda:{self._number}")
        return TorchGraph(file, program, self._number, self._pools[stream], capturable=self._capturable)


def interpreting_sampler(bundle: Bundle, graphs: Any, driver: Driver, number: int) -> Sampler:
    """A sampler whose backend runs those graphs."""
    backend = GpuBackend(bundle, graphs, driver, number, f"pytorch:{number}", f"PyTorch {torch.__version__}")
    return Sampler.with_backend(bundle, backend)
