"""A bundle's graphs on a GPU, interpreted by PyTorch: they run the GPU backend's loop without TensorRT.

This is no backend for users, because one PyTorch call per node is slow. It tests the backend's host code on a real
driver: addresses, streams, copies, replays, and decoding that overlaps with drawing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from latentloop import Bundle, Sampler
from latentloop.backends.gpu.backend import GpuBackend
from latentloop.backends.gpu.device_graph import Tensor
from latentloop.backends.gpu.graph_provider import GraphProvider
from latentloop.backends.interface import MAX_BATCH
from latentloop.bench.gpu.program import Program
from latentloop.bench.machine.gpu_clock import disable_tf32
from latentloop.bundles.codec import codec_of
from latentloop.kernels.driver import Driver, Stream
from latentloop.kernels.element_types import ELEMENT_TYPES
from latentloop.sampling.sampler import sampler_on


class InterfaceTensor:
    """A tensor of the backend with the CUDA array interface, from which PyTorch makes its own without a copy."""

    def __init__(self, tensor: Tensor) -> None:
        self.__cuda_array_interface__ = {
            "shape": tensor.shape,
            "typestr": ELEMENT_TYPES[tensor.dtype].typestr,
            "data": (tensor.pointer, False),
            "version": 2,
        }


class TorchGraph:
    """A DeviceGraph that PyTorch runs.

    Captured work uses the same addresses at every replay. PyTorch's temporary memory therefore comes from ``pool``,
    which outlives the graph and serves one stream: memory that is reused there is ordered after all replays.
    """

    def __init__(self, name: str, program: Program, number: int, pool: Any, *, capturable: bool) -> None:
        self.name, self.capturable = name, capturable
        self._program, self._number, self._pool = program, number, pool

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """Enqueues one run on a stream, which may be of any library."""
        device = torch.device("cuda", self._number)
        external: Any = torch.cuda.ExternalStream(stream.handle, device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(external), torch.cuda.use_mem_pool(self._pool, device):
            self.run({name: torch.as_tensor(InterfaceTensor(value), device=device) for name, value in tensors.items()})

    def run(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Runs on tensors of the inputs' memory, and writes the outputs into theirs."""
        with torch.inference_mode():
            for name, value in self._program.run(tensors).items():
                tensors[name].copy_(value)


class TorchGraphs(GraphProvider):
    """The graphs of a bundle for a GpuBackend, in float32."""

    def __init__(self, bundle: Bundle, number: int, *, capturable: bool) -> None:
        disable_tf32()
        super().__init__(*codec_of(bundle.manifest), bundle.manifest.priors("float32"), MAX_BATCH)
        self._bundle, self._number, self._capturable = bundle, number, capturable
        self._pools: dict[Stream, Any] = {}

    def load(self, file: str, batch: int, stream: Stream) -> TorchGraph:
        """Loads a graph, which supports every batch size."""
        if stream not in self._pools:
            self._pools[stream] = torch.cuda.MemPool()
        program = Program(self._bundle.path / file, f"cuda:{self._number}")
        return TorchGraph(file, program, self._number, self._pools[stream], capturable=self._capturable)


def interpreting_sampler(bundle: Bundle, graphs: Any, driver: Driver, number: int) -> Sampler:
    """Returns a sampler whose backend runs ``graphs`` on GPU ``number``."""
    backend = GpuBackend(bundle, graphs, driver, number, f"pytorch:{number}", f"PyTorch {torch.__version__}")
    return sampler_on(bundle, backend)
